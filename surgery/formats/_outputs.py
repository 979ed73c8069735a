"""Outputs of one or more files in which each tensor has a known offset."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from surgery.formats.base import Output, Sink
from surgery.storage.disk import release, sync, write_at
from surgery.weights.tensor import Array, Tensor

_ON_ITS_WAY = 1 << 26
"""The most bytes of a tensor that may be in writeback while the next are written."""

_WORTH_A_CALL = 1 << 16
"""The fewest bytes for which a writeback call is made; small pieces would wait for each."""


def as_bytes(values: Array) -> memoryview:
    """Return the elements' bytes, without a copy if they are contiguous."""
    return np.ascontiguousarray(values).view(np.uint8).data


def sink_at(
    descriptor: int,
    offset: int,
    itemsize: int,
    seen: Callable[[int, memoryview], None] | None = None,
) -> Sink:
    """Make a sink for a tensor at byte `offset`; `seen(offset, bytes)` gets every chunk."""

    def write(start: int, values: Array) -> None:
        data = as_bytes(values)
        place = offset + start * itemsize
        write_at(descriptor, data, place)
        behind = min(place - offset, _ON_ITS_WAY)
        if behind + len(data) >= _WORTH_A_CALL:
            release(descriptor, place - behind, behind + len(data))
        if seen is not None:
            seen(place, data)

    return write


def together(outputs: Sequence[Output], folder: Path) -> Output:
    """Combine several outputs in one folder."""

    def finish() -> None:
        for output in outputs:
            output.finish()
        sync(folder)

    def close() -> None:
        for output in outputs:
            output.close()

    return Output([entry for output in outputs for entry in output.tensors], finish, close)


def output(
    descriptor: int,
    places: Sequence[tuple[int, Tensor]],
    seen: Callable[[int, memoryview], None] | None = None,
    finish: Callable[[], None] = lambda: None,
) -> Output:
    """Make an output of one file, given (offset, tensor) of all tensors."""
    sinks = [
        (tensor, sink_at(descriptor, offset, tensor.dtype.itemsize, seen))
        for offset, tensor in places
    ]

    def finish_and_sync() -> None:
        finish()
        os.fsync(descriptor)
        for offset, tensor in places:
            if tensor.nbytes >= _WORTH_A_CALL:
                release(descriptor, offset, tensor.nbytes)

    return Output(sinks, finish_and_sync, lambda: os.close(descriptor))
