"""Tensors saved in parts, which are adjacent along one axis."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from surgery.weights.tensor import Array, FunctionTensor, Tensor

Shape = tuple[int, ...]
Slice = tuple[tuple[int, int], ...]
"""(first index, count) for each dimension; count -1 is the whole dimension."""


class Parts:
    """The parts of a tensor that was split along one axis, by their keys in the index."""

    def __init__(self, shape: Shape, slices: Sequence[tuple[bytes, Slice]]) -> None:
        """Order the parts; raises ValueError if they overlap, leave gaps, or are incomplete."""
        if not shape or any(len(one) != len(shape) for _, one in slices):
            raise ValueError("differ in rank from the tensor")
        cut = {d for _, one in slices for d, (_, n) in enumerate(one) if n not in (-1, shape[d])}
        if len(cut) > 1:
            raise ValueError("are not adjacent along one axis")
        self._axis = min(cut, default=0)
        ordered = sorted(slices, key=lambda part: part[1][self._axis][0])
        self.keys = [key for key, _ in ordered]
        self._ends = [0]
        for _, one in ordered:
            first, count = one[self._axis]
            if first != self._ends[-1] or count == 0:
                raise ValueError("leave a gap, or overlap")
            self._ends.append(shape[self._axis] if count < 0 else first + count)
        if self._ends[-1] != shape[self._axis]:
            raise ValueError("do not cover the tensor")
        self._shape = shape

    def shape_of(self, part: int) -> Shape:
        """Return the shape of one part."""
        size = self._ends[part + 1] - self._ends[part]
        return (*self._shape[: self._axis], size, *self._shape[self._axis + 1 :])

    def runs(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Yield (part, first element in it, count) that make up elements `start` to `stop`."""
        inner = math.prod(self._shape[self._axis + 1 :])
        block = self._shape[self._axis] * inner
        while start < stop:
            outer, place = divmod(start, block)
            part = int(np.searchsorted(self._ends, place // inner, side="right")) - 1
            low, high = self._ends[part] * inner, self._ends[part + 1] * inner
            count = min(high - place, stop - start)
            yield part, outer * (high - low) + place - low, count
            start += count


def joined(parts: Parts, shape: Shape, dtype: np.dtype[Any], tensors: Sequence[Tensor]) -> Tensor:
    """Join the tensors of the parts, given in the order of `parts`, to one tensor."""

    def read(start: int, stop: int) -> Array:
        runs = parts.runs(start, stop)
        read = [tensors[part].read(first, first + count) for part, first, count in runs]
        return np.concatenate([*read, np.empty(0, dtype)])

    return FunctionTensor(shape, dtype, read)
