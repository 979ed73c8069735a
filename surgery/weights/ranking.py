"""The k elements of lowest magnitude of one or more tensors: exact, in constant memory.

The bits of a float without its sign sort as an unsigned integer, and so do the magnitudes of
integers; complex numbers are ranked by their absolute value. A sample gives a bracket of two
magnitudes between which the k-th lies; one pass counts the elements below and keeps the few
inside, among which the k-th is then found. If the sample misleads (or most elements are equal),
histograms of 16 bits at a time find it: the first pass makes one of the high 16 bits of all
magnitudes, the next one of the following 16 bits inside the bucket that holds the k-th.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from surgery.errors import SelectorError
from surgery.weights.arithmetic import is_float, is_whole
from surgery.weights.tensor import CHUNK, Array, Tensor, chunk_ranges

_BLOCK = 1 << 16
"""Elements ranked at a time: few enough that the temporaries stay in the cache."""

_SAMPLED_RUNS, _RUN = 256, 512
_SAMPLED_FROM = 4 * CHUNK
"""The fewest elements that are worth sampling."""

_SPREAD = 8.0
"""The half width of the bracket around the sample's k-th, in standard errors."""

_MOST_BETWEEN = 4 * CHUNK
"""The most elements inside the bracket that are kept in memory."""

Magnitudes = Callable[[Array], Array]
"""A function that returns elements' magnitudes as unsigned integers of the same order."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A chunk of a tensor to be ranked."""

    tensor: Tensor
    start: int
    stop: int
    magnitudes: Magnitudes

    def blocks(self) -> Iterator[Array]:
        """Yield the magnitudes of its elements in blocks."""
        values = self.tensor.read(self.start, self.stop)
        return (self.magnitudes(values[block]) for block in _blocks(values.size))


@dataclass(frozen=True)
class Lowest:
    """The set of the k lowest elements: all below a magnitude, and the first of those equal to it.

    `bits` is the magnitude. `first_kept` is (tensor number, flat index), from which on elements
    equal to `bits` are not in the set; None if all are. If the k lowest are all zero, `nothing` is
    True, since zeroing them changes nothing.
    """

    magnitudes: Magnitudes
    bits: int
    everything: bool = False
    nothing: bool = False
    first_kept: tuple[int, int] | None = None

    def zeroed(self, values: Array, tensor: int, start: int) -> Array:
        """Return a flat range's elements with those in the set replaced by zero."""
        if self.nothing:
            return values
        if self.everything:
            return np.zeros_like(values)
        result = np.empty_like(values)
        for block in _blocks(values.size):
            bits = self.magnitudes(values[block])
            keep = bits > self.bits
            tied = np.flatnonzero(bits == self.bits)
            keep[tied[self._ties(tied + start + block.start, tensor) :]] = True
            result[block] = _times(values[block], keep)
        return result

    def _ties(self, places: Array, tensor: int) -> int:
        """Count the elements in the set among tied ones at these sorted flat indices."""
        if self.first_kept is None or tensor < self.first_kept[0]:
            return places.size
        if tensor > self.first_kept[0]:
            return 0
        return int(np.searchsorted(places, self.first_kept[1]))


def _times(values: Array, keep: Array) -> Array:
    """Return the elements where `keep` is True, else zeros."""
    if values.dtype.itemsize > 8:
        return np.where(keep, values, values.dtype.type(0))
    # Times one or zero, as integers: no other bit changes, and it is fast.
    unsigned = np.dtype(f"u{values.dtype.itemsize}")
    product: Array = values.view(unsigned) * keep
    return product.view(values.dtype)


def passes_to_rank(tensors: Sequence[Tensor]) -> int:
    """Return how many passes over the elements ranking usually takes."""
    if sum(tensor.size for tensor in tensors) >= _SAMPLED_FROM:
        return 1
    dtype = tensors[0].dtype
    return max(1, _width(magnitudes_of([tensor.dtype for tensor in tensors]), dtype) // 16)


def _width(magnitudes: Magnitudes, dtype: np.dtype[Any]) -> int:
    """Return the number of bits of a magnitude."""
    return 8 * magnitudes(np.empty(0, dtype)).dtype.itemsize


def magnitudes_of(dtypes: Sequence[np.dtype[Any]]) -> Magnitudes:
    """Return the magnitude function for tensors of these dtypes; raises SelectorError.

    Raised if 64-bit integers would have to be compared with floats, which is inexact.
    """
    if all(is_whole(dtype) for dtype in dtypes):
        return _whole_magnitudes
    if any(dtype.kind in "iu" and dtype.itemsize == 8 for dtype in dtypes):
        names = ", ".join(dict.fromkeys(dtype.name for dtype in dtypes))
        raise SelectorError(
            f"{names} are not ranked together exactly; leave out scope: global, or select one dtype"
        )
    if is_float(dtypes[0]) and len(set(dtypes)) == 1:
        return magnitude_bits
    return lambda values: magnitude_bits(as_real(values))


def as_real(values: Array) -> Array:
    """Return elements in float64, complex ones as their absolute values."""
    if values.dtype.kind == "c":
        return np.abs(values.astype(np.complex128))
    return values.astype(np.float64)


def magnitude_bits(values: Array) -> Array:
    """Return floats' magnitudes as unsigned integers of the same order; NaN is above infinity."""
    unsigned = np.dtype(f"u{values.dtype.itemsize}")
    sign_off = unsigned.type((1 << (8 * unsigned.itemsize - 1)) - 1)
    bits: Array = values.view(unsigned) & sign_off
    return bits


def _whole_magnitudes(values: Array) -> Array:
    """Return integers' magnitudes as uint64, exact even for the lowest int64."""
    if values.dtype == np.uint64:
        return values
    return np.abs(values.astype(np.int64)).view(np.uint64)


def lowest(tensors: Sequence[Tensor], count: int, pool: Executor | None = None) -> Lowest:
    """Find the `count` elements of lowest magnitude over some tensors.

    Among equal magnitudes, earlier tensors and then lower flat indices come first. NaN counts as
    the largest.
    """
    magnitudes = magnitudes_of([tensor.dtype for tensor in tensors])
    total = sum(tensor.size for tensor in tensors)
    if count <= 0 or count >= total:
        return Lowest(magnitudes, 0, everything=count >= total > 0, nothing=count <= 0)
    chunks = [
        _Chunk(t, start, stop, magnitudes) for t in tensors for start, stop in chunk_ranges(t.size)
    ]
    found = _between(chunks, count, total, pool) or _by_histograms(chunks, count, pool)
    bits, wanted, equal = found
    if bits == 0:
        return Lowest(magnitudes, 0, nothing=True)
    if wanted == equal:
        return Lowest(magnitudes, bits)
    return Lowest(magnitudes, bits, first_kept=_first_kept(tensors, magnitudes, bits, wanted))


def _between(
    chunks: Sequence[_Chunk], count: int, total: int, pool: Executor | None
) -> tuple[int, int, int] | None:
    """Return (the k-th magnitude, how many equal to it are in the set, how many there are).

    None if the sample's bracket does not contain it, or contains too many elements.
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
    """The number of elements that may still be kept, over all threads."""

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


def _bracket(chunks: Sequence[_Chunk], share: float) -> tuple[int, int]:
    """Return a range of magnitudes that contains the quantile `share`, from a sample of runs."""
    picked = (chunks[i * len(chunks) // _SAMPLED_RUNS] for i in range(_SAMPLED_RUNS))
    runs = []
    for number, chunk in enumerate(picked):
        first = chunk.start + (number * 7919 * _RUN) % max(1, chunk.stop - chunk.start - _RUN)
        run = chunk.tensor.read(first, min(first + _RUN, chunk.stop))
        runs.append(chunk.magnitudes(run))
    sample = np.sort(np.concatenate(runs))
    reach = _SPREAD * math.sqrt(share * (1 - share) * sample.size) + 2
    ends = (share * sample.size - reach, share * sample.size + reach)
    low, high = (int(sample[min(max(int(end), 0), sample.size - 1)]) for end in ends)
    return (0 if ends[0] < 0 else low), high


def _compared(
    chunk: _Chunk, low: int, high: int, left: _Budget
) -> tuple[tuple[int, int, int], Array]:
    """Count a chunk's magnitudes below `low`, and equal to `low` and `high`; return the rest.

    The rest are the magnitudes strictly between `low` and `high`.
    """
    below = on_low = on_high = 0
    between = []
    if left.is_spent:
        return (0, 0, 0), np.empty(0)
    for bits in chunk.blocks():
        below += int(np.count_nonzero(bits < low))
        # Values below `low` wrap around to the largest numbers: one comparison tests both ends.
        inside = bits[bits - bits.dtype.type(low) <= high - low]
        on_low += int(np.count_nonzero(inside == low))
        on_high += int(np.count_nonzero(inside == high)) if high > low else 0
        between.append(inside[(inside > low) & (inside < high)])
        if not left.take(between[-1].size):
            break
    return (below, on_low, on_high), np.concatenate(between) if between else np.empty(0)


def _by_histograms(
    chunks: Sequence[_Chunk], count: int, pool: Executor | None
) -> tuple[int, int, int]:
    """Return the same as `_between`, for any magnitudes, with one pass for each 16 bits."""
    width = _width(chunks[0].magnitudes, chunks[0].tensor.dtype)
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


def _histogram(chunk: _Chunk, shift: int, prefix: int) -> Array:
    """Count the values of the 16 bits at `shift` among magnitudes with the high bits `prefix`."""
    histogram = np.zeros(1 << 16, np.int64)
    for bits in chunk.blocks():
        at, inside = bits.dtype.type(shift), bits
        if shift < 8 * bits.dtype.itemsize - 16:
            inside = bits[(bits >> bits.dtype.type(shift + 16)) == prefix]
        found = (inside >> at).astype(np.uint16)
        if found.size:
            histogram += np.bincount(found, minlength=1 << 16)
    return histogram


def _first_kept(
    tensors: Sequence[Tensor], magnitudes: Magnitudes, bits: int, wanted: int
) -> tuple[int, int]:
    """Return (tensor, flat index) of the element equal to `bits` after the first `wanted`."""
    for number, tensor in enumerate(tensors):
        for start, stop in chunk_ranges(tensor.size):
            on_it = np.flatnonzero(magnitudes(tensor.read(start, stop)) == bits)
            if on_it.size > wanted:
                return number, start + int(on_it[wanted])
            wanted -= on_it.size
    raise AssertionError(wanted)


def _blocks(size: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK) for start in range(0, size, _BLOCK))
