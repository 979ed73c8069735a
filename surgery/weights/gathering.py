"""A tensor's elements along an axis in another order, some left out or repeated."""

from __future__ import annotations

import math

import numpy as np

from surgery.weights.tensor import CHUNK, Array, Rearranged, Tensor, in_pieces


def gathered(tensor: Tensor, axis: int, index: Array) -> Tensor:
    """Return a tensor whose every place along an axis is the place `index` of another tensor's."""
    count, inner = tensor.shape[axis], math.prod(tensor.shape[axis + 1 :])
    shape = (*tensor.shape[:axis], index.size, *tensor.shape[axis + 1 :])
    old, new = count * inner, index.size * inner
    ends = np.append(np.flatnonzero(np.diff(index) != 1) + 1, index.size)

    def whole(before: Tensor, start: int, stop: int) -> Array:
        first, last = start // new, -(-stop // new)
        values = before.read(first * old, last * old).reshape(-1, count, inner)
        result: Array = values[:, index].reshape(-1)[start - first * new : stop - first * new]
        return result

    def by_runs(before: Tensor, start: int, stop: int) -> Array:
        """Each run of elements that stay together is read by itself."""
        parts = [np.empty(0, tensor.dtype)]
        while start < stop:
            outer, place = divmod(start, new)
            number, offset = divmod(place, inner)
            end = int(ends[np.searchsorted(ends, number, "right")])
            size = min((end - number) * inner - offset, stop - start)
            first = outer * old + int(index[number]) * inner + offset
            parts.append(before.read(first, first + size))
            start += size
        return np.concatenate(parts)

    if old <= 4 * CHUNK:
        return Rearranged(tensor, whole, shape)
    return Rearranged(in_pieces(tensor), by_runs, shape)
