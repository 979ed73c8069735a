"""A tensor's elements along an axis in another order, some left out or repeated."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from surgery.weights.tensor import CHUNK, Array, Rearranged, Reduction, Tensor, in_pieces


def gathered(tensor: Tensor, axis: int, index: Array) -> Tensor:
    """Return a tensor whose every place along an axis is the place `index` of another tensor's."""
    return gathered_by(tensor, axis, index.size, lambda: index)


def gathered_by(
    tensor: Tensor,
    axis: int,
    size: int,
    index: Callable[[], Array],
    using: Reduction[Any] | None = None,
) -> Tensor:
    """Return the same for an index of `size` places that is computed when elements are read.

    `using` is the Reduction that it is computed from.
    """
    count, inner = tensor.shape[axis], math.prod(tensor.shape[axis + 1 :])
    shape = (*tensor.shape[:axis], size, *tensor.shape[axis + 1 :])
    old, new = count * inner, size * inner

    @functools.cache
    def runs() -> tuple[Array, Array]:
        """Return the index, and where each run of places that follow each other ends."""
        places = index()
        return places, np.append(np.flatnonzero(np.diff(places) != 1) + 1, size)

    def whole(before: Tensor, start: int, stop: int) -> Array:
        first, last = start // new, -(-stop // new)
        most = max(1, 4 * CHUNK // old)  # as many rows as are small in memory
        parts = [np.empty(0, tensor.dtype)]
        for row in range(first, last, most):
            end = min(row + most, last)
            values = before.read(row * old, end * old).reshape(-1, count, inner)
            parts.append(values[:, runs()[0]].reshape(-1))
        return np.concatenate(parts)[start - first * new : stop - first * new]

    def by_runs(before: Tensor, start: int, stop: int) -> Array:
        """Each run of elements that stay together is read by itself."""
        places, ends = runs()
        parts = [np.empty(0, tensor.dtype)]
        while start < stop:
            outer, place = divmod(start, new)
            number, offset = divmod(place, inner)
            end = int(ends[np.searchsorted(ends, number, "right")])
            length = min((end - number) * inner - offset, stop - start)
            first = outer * old + int(places[number]) * inner + offset
            parts.append(before.read(first, first + length))
            start += length
        return np.concatenate(parts)

    if old <= 4 * CHUNK:
        return Rearranged(tensor, whole, shape, using)
    return Rearranged(in_pieces(tensor), by_runs, shape, using)
