"""The difference between two tensors, streamed; independent of the number of threads."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from functools import reduce
from typing import TypeVar

import numpy as np

from surgery.weights.arithmetic import compute_dtype
from surgery.weights.tensor import Array, Span, Tensor, chunk_ranges

_BLOCK = 1 << 17
"""Elements compared at a time: few enough to stay in a core's cache."""

_AHEAD = 3
"""Chunks submitted in advance for each thread."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Comparison:
    """The difference b - a of some elements, and facts of a and b alone; sums are in float64.

    Attributes:
       count, changed: the number of elements, and of those whose bytes differ.
       finite: the number of elements finite in both, over which the next six are taken.
       largest, total: the largest and the sum of |b - a|.
       squares: the sum of (b - a)^2, `before` of a^2, `after` of b^2, `product` of a * b.
       zeros: how many elements of a, and of b, are zero.
    """

    count: int = 0
    changed: int = 0
    finite: int = 0
    largest: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    before: float = 0.0
    after: float = 0.0
    product: float = 0.0
    zeros: tuple[int, int] = (0, 0)

    def __add__(self, other: Comparison) -> Comparison:
        """Combine the comparisons of two sets of elements."""
        return Comparison(
            self.count + other.count,
            self.changed + other.changed,
            self.finite + other.finite,
            max(self.largest, other.largest),
            self.total + other.total,
            self.squares + other.squares,
            self.before + other.before,
            self.after + other.after,
            self.product + other.product,
            (self.zeros[0] + other.zeros[0], self.zeros[1] + other.zeros[1]),
        )

    @property
    def mean(self) -> float:
        """The mean of |b - a|."""
        return self.total / self.finite if self.finite else 0.0

    @property
    def relative_norm(self) -> float:
        """The l2 norm of b - a, divided by that of a; infinite if a is all zero."""
        if not self.squares:
            return 0.0
        return math.sqrt(self.squares / self.before) if self.before else math.inf

    @property
    def cosine(self) -> float:
        """The cosine of the angle between a and b; NaN if one is all zero."""
        norms = math.sqrt(self.before) * math.sqrt(self.after)
        return self.product / norms if norms else math.nan

    def as_dict(self) -> dict[str, float | int | None]:
        """Return the comparison for JSON, with None for numbers that are not finite."""
        numbers = {
            "max_abs": self.largest,
            "mean_abs": self.mean,
            "relative_norm": self.relative_norm,
            "cosine": self.cosine,
        }
        known = {name: n if math.isfinite(n) else None for name, n in numbers.items()}
        zeros = {"zeros_before": self.zeros[0], "zeros_after": self.zeros[1]}
        return {"elements": self.count, "changed": self.changed, **known, **zeros}


def are_equal(a: Tensor, b: Tensor, pool: Executor, threads: int) -> bool:
    """Return whether all bytes are equal; reading stops at the first chunk that differs."""
    return all(_in_order(pool, threads, a, lambda span: _same_bytes(a, b, span)))


def compared(a: Tensor, b: Tensor, pool: Executor, threads: int) -> Comparison:
    """Compare two tensors of the same shape."""

    def part(span: Span) -> Comparison:
        blocks = (of_block(a.read(*block), b.read(*block)) for block in _blocks(span))
        return sum(blocks, Comparison())

    return reduce(Comparison.__add__, _in_order(pool, threads, a, part), Comparison())


def _blocks(span: Span) -> Iterator[Span]:
    start, stop = span
    return ((begin, min(begin + _BLOCK, stop)) for begin in range(start, stop, _BLOCK))


def _same_bytes(a: Tensor, b: Tensor, span: Span) -> bool:
    return all(
        np.array_equal(_words(a.read(*block)), _words(b.read(*block))) for block in _blocks(span)
    )


def of_block(a: Array, b: Array) -> Comparison:
    """Compare two flat arrays of the same length, computed in their own precision."""
    before, after = (_reals(v.astype(compute_dtype(v.dtype), copy=False)) for v in (a, b))
    if before.dtype.kind != "f" or before.dtype != after.dtype:
        before, after = before.astype(np.float64), after.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        difference = after - before
        found = _summed(before, after, difference)
        if not math.isfinite(found.squares + found.before + found.after):
            found = _summed(*_finite(before, after))
    is_same_kind = a.dtype == b.dtype
    changed = _changed(a, b) if is_same_kind else int(np.count_nonzero(difference != 0))
    zeros = int(np.count_nonzero(before == 0)), int(np.count_nonzero(after == 0))
    return replace(found, count=a.size, changed=changed, zeros=zeros)


def _finite(before: Array, after: Array) -> tuple[Array, Array, Array]:
    """Return (a, b, b - a) of the elements finite in both, in float64, which does not overflow."""
    is_finite = np.isfinite(before) & np.isfinite(after)
    before, after = (v[is_finite].astype(np.float64) for v in (before, after))
    return before, after, after - before


def _summed(before: Array, after: Array, difference: Array) -> Comparison:
    """Return the sums over some elements; overwrites `difference` by its absolute values."""
    squares = float(difference @ difference)
    size = np.abs(difference, out=difference)
    at = int(size.argmax()) if size.size else 0
    largest = abs(float(after[at]) - float(before[at])) if size.size else 0.0
    return Comparison(
        finite=size.size,
        largest=largest,
        total=float(size.sum()),
        squares=squares,
        before=float(before @ before),
        after=float(after @ after),
        product=float(before @ after),
    )


def _reals(values: Array) -> Array:
    """Return complex numbers as pairs of real numbers."""
    return values.view(values.real.dtype) if values.dtype.kind == "c" else values


def _changed(a: Array, b: Array) -> int:
    """Count the elements whose bytes differ."""
    item = a.dtype.itemsize
    if item in (1, 2, 4, 8):
        left, right = (np.ascontiguousarray(v).view(f"u{item}") for v in (a, b))
        return int(np.count_nonzero(left != right))
    left, right = (np.ascontiguousarray(v).view(np.uint8).reshape(-1, item) for v in (a, b))
    return int(np.count_nonzero((left != right).any(axis=1)))


def _words(values: Array) -> Array:
    """Return the bytes as an array of 64-bit words if their number allows, else of bytes."""
    flat = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    return flat.view(np.uint64) if flat.size % 8 == 0 else flat


def _in_order(
    pool: Executor, threads: int, tensor: Tensor, work: Callable[[Span], Result]
) -> Iterator[Result]:
    """Yield the results of `work` for a tensor's chunks in order, a few in progress at a time."""
    if tensor.size <= _BLOCK:
        yield from map(work, chunk_ranges(tensor.size))
        return
    waiting: deque[Future[Result]] = deque()
    for span in chunk_ranges(tensor.size):
        waiting.append(pool.submit(work, span))
        if len(waiting) >= threads * _AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
