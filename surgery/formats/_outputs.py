"""Outputs of one file or of several, whose tensors have their places in them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from surgery.formats.base import Output, Sink
from surgery.storage.disk import release, sync, write_at
from surgery.weights.tensor import Array, Tensor

_ON_ITS_WAY = 1 << 26
"""Bytes of a tensor that may be on their way to the disk when the next are written."""

_WORTH_A_CALL = 1 << 16
"""Bytes that the system is told to write to disk at once; thousands of small pieces would wait."""


def as_bytes(values: Array) -> memoryview:
    """The elements' bytes, without a copy where they lie in one piece."""
    return np.ascontiguousarray(values).view(np.uint8).data


def sink_at(
    descriptor: int,
    offset: int,
    itemsize: int,
    seen: Callable[[int, memoryview], None] | None = None,
) -> Sink:
    """A sink for a tensor whose first byte belongs at `offset`; `seen` is shown every chunk."""

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
    """Several outputs in one folder as one."""

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
    """An output of one file, in which each tensor has its place."""
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
