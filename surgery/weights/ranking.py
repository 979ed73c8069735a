"""The k-th smallest magnitude of one or more tensors: exact, and flat in memory.

The bits of a float without its sign order as an unsigned integer does. So a pass makes a
histogram of the high 16 bits of all magnitudes, the next one of the following 16 bits
inside the bucket that holds the k-th, until all bits are known: one pass for float16 and
bfloat16, two for float32, four for float64.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from surgery.weights.tensor import Array, Tensor, spans

_BLOCK = 1 << 17
"""Elements ranked at once: small enough that the temporaries stay in the cache."""


@dataclass(frozen=True)
class Lowest:
    """Which elements are the k lowest: those under a magnitude, and the first of those on it.

    `ties` holds, by (tensor, chunk's start), how many of the elements that have exactly the
    magnitude `bits` belong to the k lowest; None where all of them do. Nothing is marked
    where the k lowest are all zero: which zeros are meant makes no difference.
    """

    bits: int
    everything: bool = False
    nothing: bool = False
    ties: dict[tuple[int, int], int] | None = None

    def mask(self, values: Array, tensor: int, start: int) -> Array:
        """True where an element of that chunk is one of the k lowest."""
        if self.nothing or self.everything:
            return np.full(values.shape, self.everything)
        magnitudes = magnitude_bits(values)
        if self.ties is None:
            below: Array = magnitudes <= self.bits
            return below
        below = magnitudes < self.bits
        on_it = np.flatnonzero(magnitudes == self.bits)
        below[on_it[: self.ties.get((tensor, start), 0)]] = True
        return below


def passes_to_rank(dtype: np.dtype[Any]) -> int:
    """How many passes over the elements find the k-th magnitude."""
    return max(1, dtype.itemsize // 2)


def magnitude_bits(values: Array) -> Array:
    """The magnitudes as unsigned integers of the same order; NaN is above infinity."""
    unsigned = np.dtype(f"u{values.dtype.itemsize}")
    sign_off = unsigned.type((1 << (8 * unsigned.itemsize - 1)) - 1)
    bits: Array = values.view(unsigned) & sign_off
    return bits


def lowest(tensors: Sequence[Tensor], count: int, pool: Executor | None = None) -> Lowest:
    """The `count` elements of lowest magnitude of tensors of one dtype, ranked together.

    Ties go to the earlier tensor, then to the lower flat index. NaN counts as the largest.
    """
    total = sum(tensor.size for tensor in tensors)
    if count <= 0 or count >= total:
        return Lowest(0, everything=count >= total, nothing=count <= 0)
    width = 8 * tensors[0].dtype.itemsize
    jobs = [(t, start, stop) for t in tensors for start, stop in spans(t.size)]
    prefix, rank = 0, count
    for shift in range(width - 16, -1, -16):
        count_up = partial(_histogram, shift=shift, prefix=prefix)
        histograms: Iterable[Array] = (pool.map if pool else map)(count_up, jobs)
        histogram = sum(histograms, np.zeros(1 << 16, np.int64))
        cumulated = np.cumsum(histogram)
        bucket = int(np.searchsorted(cumulated, rank))
        rank -= int(cumulated[bucket - 1]) if bucket else 0
        prefix = prefix << 16 | bucket
    if prefix == 0:
        return Lowest(0, nothing=True)  # the lowest are zeros already
    if rank == int(histogram[bucket]):
        return Lowest(prefix)
    return Lowest(prefix, ties=_first_ties(tensors, prefix, rank))


def _histogram(chunk: tuple[Tensor, int, int], shift: int, prefix: int) -> Array:
    """How often each value of the 16 bits at `shift` occurs under the higher bits `prefix`."""
    tensor, start, stop = chunk
    values = tensor.read(start, stop)
    histogram = np.zeros(1 << 16, np.int64)
    highest = 8 * values.dtype.itemsize - 16
    for begin in range(0, values.size, _BLOCK):
        bits = magnitude_bits(values[begin : begin + _BLOCK])
        if shift < highest:
            bits = bits[(bits >> bits.dtype.type(shift + 16)) == prefix]
        found = (bits >> bits.dtype.type(shift)).astype(np.uint16)
        if found.size:
            histogram += np.bincount(found, minlength=1 << 16)
    return histogram


def _first_ties(tensors: Sequence[Tensor], bits: int, wanted: int) -> dict[tuple[int, int], int]:
    ties: dict[tuple[int, int], int] = {}
    for number, tensor in enumerate(tensors):
        for start, stop in spans(tensor.size):
            if not wanted:
                return ties
            found = int(np.count_nonzero(magnitude_bits(tensor.read(start, stop)) == bits))
            ties[number, start] = min(found, wanted)
            wanted -= ties[number, start]
    return ties
