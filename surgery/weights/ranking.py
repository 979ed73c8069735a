"""The k elements of lowest magnitude of one or more tensors: exact, and flat in memory.

The bits of a float without its sign order as an unsigned integer does, and so do the magnitudes
of whole numbers; complex ones are ranked by their absolute value. A sample says between
which two magnitudes the k-th must lie; one pass counts what is below and keeps the few that
are between, among which it is then found. Where the sample misleads (or most elements are
equal) histograms of 16 bits at a time find it: a pass makes one of the high 16 bits of all
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
"""Elements looked at at once: small enough that the temporaries stay in the cache."""

_SAMPLED_RUNS, _RUN = 256, 512
_SAMPLED_FROM = 4 * CHUNK
"""Fewer elements are not worth sampling."""

_SPREAD = 8.0
"""How many standard errors the bracket reaches to each side of the sample's k-th."""

_MOST_BETWEEN = 4 * CHUNK
"""More elements than this inside the bracket are not kept in memory."""

Magnitudes = Callable[[Array], Array]
"""The magnitudes of a chunk's elements as unsigned integers of the same order."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A part of a tensor to be ranked."""

    tensor: Tensor
    start: int
    stop: int
    magnitudes: Magnitudes

    def blocks(self) -> Iterator[Array]:
        """The magnitudes of its elements, a few at a time."""
        values = self.tensor.read(self.start, self.stop)
        return (self.magnitudes(values[block]) for block in _blocks(values.size))


@dataclass(frozen=True)
class Lowest:
    """Which elements are the k lowest: those under a magnitude, and the first of those on it.

    `first_kept` is the tensor's number and the flat index from which on elements that have
    exactly the magnitude `bits` are not among the k lowest; None where all of them are. Nothing
    is one where the k lowest are all zero: which zeros are meant makes no difference.
    """

    magnitudes: Magnitudes
    bits: int
    everything: bool = False
    nothing: bool = False
    first_kept: tuple[int, int] | None = None

    def zeroed(self, values: Array, tensor: int, start: int) -> Array:
        """Any range's elements with those that are among the k lowest set to zero."""
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
        """Return how many of the elements at those places, all tied, are among the k lowest."""
        if self.first_kept is None or tensor < self.first_kept[0]:
            return places.size
        if tensor > self.first_kept[0]:
            return 0
        return int(np.searchsorted(places, self.first_kept[1]))


def _times(values: Array, keep: Array) -> Array:
    """The elements that are kept, and zeros."""
    if values.dtype.itemsize > 8:
        return np.where(keep, values, values.dtype.type(0))
    # Times one or zero, as integers: no other bit changes, and it is fast.
    unsigned = np.dtype(f"u{values.dtype.itemsize}")
    product: Array = values.view(unsigned) * keep
    return product.view(values.dtype)


def passes_to_rank(tensors: Sequence[Tensor]) -> int:
    """How many passes over the elements find the k-th magnitude, as a rule."""
    if sum(tensor.size for tensor in tensors) >= _SAMPLED_FROM:
        return 1
    dtype = tensors[0].dtype
    return max(1, _width(magnitudes_of([tensor.dtype for tensor in tensors]), dtype) // 16)


def _width(magnitudes: Magnitudes, dtype: np.dtype[Any]) -> int:
    """The bits of a magnitude."""
    return 8 * magnitudes(np.empty(0, dtype)).dtype.itemsize


def magnitudes_of(dtypes: Sequence[np.dtype[Any]]) -> Magnitudes:
    """Return by what tensors of these dtypes rank together; raises SelectorError where inexact."""
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
    """Elements in float64, complex ones by their absolute value."""
    if values.dtype.kind == "c":
        return np.abs(values.astype(np.complex128))
    return values.astype(np.float64)


def magnitude_bits(values: Array) -> Array:
    """The magnitudes of floats as unsigned integers of the same order; NaN is above infinity."""
    unsigned = np.dtype(f"u{values.dtype.itemsize}")
    sign_off = unsigned.type((1 << (8 * unsigned.itemsize - 1)) - 1)
    bits: Array = values.view(unsigned) & sign_off
    return bits


def _whole_magnitudes(values: Array) -> Array:
    """Return exact magnitudes of whole numbers, that of the lowest int64 included."""
    if values.dtype == np.uint64:
        return values
    return np.abs(values.astype(np.int64)).view(np.uint64)


def lowest(tensors: Sequence[Tensor], count: int, pool: Executor | None = None) -> Lowest:
    """The `count` elements of lowest magnitude of some tensors, ranked together.

    Ties go to the earlier tensor, then to the lower flat index. NaN counts as the largest.
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


def _bracket(chunks: Sequence[_Chunk], share: float) -> tuple[int, int]:
    """Two magnitudes between which the one at that share lies, by a sample of short runs."""
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
    """How many of a chunk's magnitudes are below, on either end, and those between."""
    below = on_low = on_high = 0
    between = []
    if left.is_spent:
        return (0, 0, 0), np.empty(0)
    for bits in chunk.blocks():
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
    chunks: Sequence[_Chunk], count: int, pool: Executor | None
) -> tuple[int, int, int]:
    """As `_between`, whatever the magnitudes are."""
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
    """How often each value of the 16 bits at `shift` occurs under the higher bits `prefix`."""
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
    """The place of the element after the first `wanted` of those that have the magnitude."""
    for number, tensor in enumerate(tensors):
        for start, stop in chunk_ranges(tensor.size):
            on_it = np.flatnonzero(magnitudes(tensor.read(start, stop)) == bits)
            if on_it.size > wanted:
                return number, start + int(on_it[wanted])
            wanted -= on_it.size
    raise AssertionError(wanted)


def _blocks(size: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK) for start in range(0, size, _BLOCK))
