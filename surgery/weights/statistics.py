"""Statistics of a tensor, streamed; independent of the number of threads."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from surgery.weights.tensor import Array, Tensor

_BLOCK = 1 << 16
"""Elements summed at a time: few enough to stay in a core's cache."""


@dataclass(frozen=True)
class Statistics:
    """Statistics of some elements; `low`, `high`, `mean` and `std` are over the finite ones.

    Attributes:
       count: the number of elements.
       zeros: how many are exactly zero (of either sign).
       nonfinite: how many are NaN or infinite.
       mean: the mean, in float64.
       deviation: the sum of the squared distances from the mean, in float64.
       low, high: the smallest and the largest.
    """

    count: int = 0
    zeros: int = 0
    nonfinite: int = 0
    mean: float = 0.0
    deviation: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def __add__(self, other: Statistics) -> Statistics:
        """Combine two sets of elements without cancellation (Chan, Golub and LeVeque 1979)."""
        n, m = self.finite, other.finite
        distance = other.mean - self.mean
        share = m / (n + m) if m else 0.0
        return Statistics(
            self.count + other.count,
            self.zeros + other.zeros,
            self.nonfinite + other.nonfinite,
            self.mean + distance * share,
            self.deviation + other.deviation + distance * distance * n * share,
            min(self.low, other.low),
            max(self.high, other.high),
        )

    @property
    def finite(self) -> int:
        """The number of finite elements."""
        return self.count - self.nonfinite

    @property
    def std(self) -> float:
        """The standard deviation (of the population)."""
        return math.sqrt(self.deviation / self.finite) if self.finite else math.nan

    def as_dict(self) -> dict[str, float | int | None]:
        """Return them for JSON: min, max, mean, std (None if none is finite), zeros, nonfinite."""
        numbers = (self.low, self.high, self.mean, self.std)
        known = [number if self.finite and math.isfinite(number) else None for number in numbers]
        names = ("min", "max", "mean", "std")
        return {
            **dict(zip(names, known, strict=True)),
            "zeros": self.zeros,
            "nonfinite": self.nonfinite,
        }


def of_chunk(values: Array) -> Statistics:
    """Compute the statistics of an array in memory."""
    result = Statistics()
    for start in range(0, values.size, _BLOCK):
        result += _of_block(values[start : start + _BLOCK])
    return result


def of_tensor(tensor: Tensor) -> Statistics:
    """Compute the statistics of a tensor, in one pass."""
    result = Statistics()
    for values in tensor.chunks():
        result += of_chunk(values)
    return result


def _of_block(values: Array) -> Statistics:
    count = values.size
    zeros = count - int(np.count_nonzero(values != 0))
    values = np.abs(values) if values.dtype.kind == "c" else values  # complex numbers have no order
    wide = values.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        mean = float(wide.sum()) / count
        if not math.isfinite(mean):
            wide = wide[np.isfinite(wide)]
            if not wide.size:
                return Statistics(count, zeros, count)
            mean = float(wide.mean())
        # NumPy's min and max are faster on 4 bytes than on 8, and much faster than on 2.
        exact = values if wide.size == count and values.itemsize >= 4 else wide
        low, high = float(exact.min()), float(exact.max())
        wide -= mean
        deviation = float(np.einsum("i,i->", wide, wide))
    return Statistics(count, zeros, count - wide.size, mean, deviation, low, high)
