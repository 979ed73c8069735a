"""The k elements of lowest magnitude of one or more tensors: exact, and flat in memory.

The bits of a float without its sign order as an unsigned integer does. A sample says between
which two magnitudes the k-th must lie; one pass counts what is below and keeps the few that
are between, among which it is then found. Where the sample misleads (or most elements are
equal) histograms of 16 bits at a time find it: a pass makes one of the high 16 bits of all
magnitudes, the next one of the following 16 bits inside the bucket that holds the k-th.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from surgery.weights.tensor import CHUNK, Array, Tensor, spans

_BLOCK = 1 << 16
"""Elements looked at at once: small enough that the temporaries stay in the cache."""

_SAMPLED_RUNS, _RUN = 256, 512
_SAMPLED_FROM = 4 * CHUNK
"""Fewer elements are not worth sampling."""

_SPREAD = 8.0
"""How many standard errors the bracket reaches to each side of the sample's k-th."""

_MOST_BETWEEN = 4 * CHUNK
"""More elements than this inside the bracket are not kept in memory."""

Chunk = tuple[Tensor, int, int]


@dataclass(frozen=True)
class Lowest:
    """Which elements are the k lowest: those under a magnitude, and the first of those on it.

    `ties` holds, by (tensor, chunk's start), how many of the elements that have exactly the
    magnitude `bits` belong to the k lowest; None where all of them do. Nothing is one where
    the k lowest are all zero: which zeros are meant makes no difference.
    """

    dtype: np.dtype[Any]
    bits: int
    everything: bool = False
    nothing: bool = False
    ties: dict[tuple[int, int], int] | None = None

    def zeroed(self, values: Array, tensor: int, start: int) -> Array:
        """A chunk's elements with those that are among the k lowest set to zero."""
        if self.nothing:
            return values
        if self.everything:
            return np.zeros_like(values)
        unsigned = np.dtype(f"u{values.dtype.itemsize}")
        result = np.empty_like(values)
        ties = None if self.ties is None else self.ties.get((tensor, start), 0)
        for block in _blocks(values.size):
            magnitudes = magnitude_bits(values[block].astype(self.dtype, copy=False))
            keep = magnitudes > self.bits
            if ties is not None:
                on_it = np.flatnonzero(magnitudes == self.bits)
                keep[on_it[ties:]] = True
                ties = max(0, ties - on_it.size)
            # Times one or zero, as integers: no other bit changes, and it is fast.
            np.multiply(values[block].view(unsigned), keep, out=result[block].view(unsigned))
        return result


def passes_to_rank(dtype: np.dtype[Any], size: int) -> int:
    """How many passes over the elements find the k-th magnitude, as a rule."""
    return 1 if size >= _SAMPLED_FROM else max(1, dtype.itemsize // 2)


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
    dtype = tensors[0].dtype
    total = sum(tensor.size for tensor in tensors)
    if count <= 0 or count >= total:
        return Lowest(dtype, 0, everything=count >= total, nothing=count <= 0)
    chunks = [(t, start, stop) for t in tensors for start, stop in spans(t.size)]
    found = _between(chunks, count, total, pool) or _by_histograms(chunks, count, pool)
    bits, wanted, equal = found
    if bits == 0:
        return Lowest(dtype, 0, nothing=True)
    if wanted == equal:
        return Lowest(dtype, bits)
    return Lowest(dtype, bits, ties=_first_ties(tensors, bits, wanted))


def _between(
    chunks: Sequence[Chunk], count: int, total: int, pool: Executor | None
) -> tuple[int, int, int] | None:
    """The k-th magnitude, how many on it are wanted, and how many there are.

    None where the sample's bracket does not hold it, or holds too many.
    """
    if total < _SAMPLED_FROM:
        return None
    low, high = _bracket(chunks, count / total)
    left = _Budget(_MOST_BETWEEN)
    look = partial(_compared, low=low, high=high, left=left)
    below = on_low = on_high = 0
    kept = []
    for counts, between in (pool.map if pool else map)(look, chunks):
        below, on_low, on_high = below + counts[0], on_low + counts[1], on_high + counts[2]
        kept.append(between)
    if left.is_spent or not below < count <= below + on_low + sum(b.size for b in kept) + on_high:
        return None
    wanted = count - below
    if wanted <= on_low:
        return low, wanted, on_low
    wanted -= on_low
    candidates = np.concatenate(kept)
    if wanted > candidates.size:
        return high, wanted - candidates.size, on_high
    bits = int(np.partition(candidates, wanted - 1)[wanted - 1])
    wanted -= int(np.count_nonzero(candidates < bits))
    return bits, wanted, int(np.count_nonzero(candidates == bits))


class _Budget:
    """How many elements may still be kept, over all threads."""

    def __init__(self, left: int) -> None:
        self._left = left
        self._lock = threading.Lock()

    def take(self, count: int) -> bool:
        with self._lock:
            self._left -= count
        return not self.is_spent

    @property
    def is_spent(self) -> bool:
        return self._left < 0


def _bracket(chunks: Sequence[Chunk], share: float) -> tuple[int, int]:
    """Two magnitudes between which the one at that share lies, by a sample of short runs."""
    picked = (chunks[i * len(chunks) // _SAMPLED_RUNS] for i in range(_SAMPLED_RUNS))
    runs = []
    for number, (tensor, start, stop) in enumerate(picked):
        first = start + (number * 7919 * _RUN) % max(1, stop - start - _RUN)
        runs.append(magnitude_bits(tensor.read(first, min(first + _RUN, stop))))
    sample = np.sort(np.concatenate(runs))
    reach = _SPREAD * math.sqrt(share * (1 - share) * sample.size) + 2
    ends = (share * sample.size - reach, share * sample.size + reach)
    low, high = (int(sample[min(max(int(end), 0), sample.size - 1)]) for end in ends)
    return (0 if ends[0] < 0 else low), high


def _compared(
    chunk: Chunk, low: int, high: int, left: _Budget
) -> tuple[tuple[int, int, int], Array]:
    """How many of a chunk's magnitudes are below, on either end, and those between."""
    tensor, start, stop = chunk
    below = on_low = on_high = 0
    between = []
    if left.is_spent:
        return (0, 0, 0), np.empty(0)
    values = tensor.read(start, stop)
    for block in _blocks(values.size):
        bits = magnitude_bits(values[block])
        below += int(np.count_nonzero(bits < low))
        # What is below wraps around to the largest numbers: one comparison for both ends.
        inside = bits[bits - bits.dtype.type(low) <= high - low]
        on_low += int(np.count_nonzero(inside == low))
        on_high += int(np.count_nonzero(inside == high)) if high > low else 0
        between.append(inside[(inside > low) & (inside < high)])
        if not left.take(between[-1].size):
            break
    return (below, on_low, on_high), np.concatenate(between) if between else np.empty(0)


def _by_histograms(
    chunks: Sequence[Chunk], count: int, pool: Executor | None
) -> tuple[int, int, int]:
    """As `_between`, whatever the magnitudes are."""
    width = 8 * chunks[0][0].dtype.itemsize
    prefix, rank = 0, count
    for shift in range(width - 16, -1, -16):
        count_up = partial(_histogram, shift=shift, prefix=prefix)
        histograms: Iterable[Array] = (pool.map if pool else map)(count_up, chunks)
        histogram = sum(histograms, np.zeros(1 << 16, np.int64))
        cumulated = np.cumsum(histogram)
        bucket = int(np.searchsorted(cumulated, rank))
        rank -= int(cumulated[bucket - 1]) if bucket else 0
        prefix = prefix << 16 | bucket
    return prefix, rank, int(histogram[bucket])


def _histogram(chunk: Chunk, shift: int, prefix: int) -> Array:
    """How often each value of the 16 bits at `shift` occurs under the higher bits `prefix`."""
    tensor, start, stop = chunk
    values = tensor.read(start, stop)
    histogram = np.zeros(1 << 16, np.int64)
    highest = 8 * values.dtype.itemsize - 16
    for block in _blocks(values.size):
        bits = magnitude_bits(values[block])
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


def _blocks(size: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK) for start in range(0, size, _BLOCK))
