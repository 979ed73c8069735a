"""`quantize_values`: reduce the number of distinct values, kept as floats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from surgery.declared.fields import key
from surgery.ops.base import FloatOp, op
from surgery.weights.channels import norms, output_channels, whole
from surgery.weights.model import Model
from surgery.weights.statistics import of_tensor
from surgery.weights.tensor import Array, Mapped, Reduction, Tensor
from surgery.weights.weight import Weight

_BINS = 1 << 16
_ROUNDS = 100


@op
@dataclass(frozen=True, kw_only=True)
class QuantizeValues(FloatOp):
    """Round the selected weights to few distinct values, stored as floats (weight sharing)."""

    bits: int | None = key(
        "Round to 2^bits - 1 evenly spaced values around zero, up to the largest magnitude.",
        8,
        default=None,
        minimum=2,
        maximum=16,
        in_example=True,
    )
    values: int | None = key(
        "Round to this many values by k-means, as in Deep Compression (Han et al. 2016); zeros "
        "stay zero, which counts as one.",
        16,
        default=None,
        minimum=2,
        maximum=65536,
    )
    per: Literal["tensor", "output_channel"] = key(
        "With bits: one largest magnitude for each weight, or one for each output channel.",
        "output_channel",
        default="tensor",
    )

    def __post_init__(self) -> None:
        if (self.bits is None) == (self.values is None):
            raise ValueError("give either bits or values")
        if self.values is not None and self.per != "tensor":
            raise ValueError("per requires bits; a codebook of values is for a whole tensor")

    def changed(self, model: Model, weights: Sequence[Weight]) -> Model:
        make = self._evenly if self.bits is not None else self._by_codebook
        return model.with_weights(weight.with_tensor(make(model, weight)) for weight in weights)

    def _evenly(self, model: Model, weight: Weight) -> Mapped:
        tensor, levels = weight.tensor, 2 ** ((self.bits or 2) - 1) - 1
        channels = whole(weight) if self.per == "tensor" else output_channels(model, weight)
        found = Reduction(lambda pool: norms([tensor], [channels], "max", pool), 1)

        def snap(values: Array, start: int) -> Array:
            largest = found.result()
            top = np.where(largest.values > 0, largest.values, 1.0)
            own = channels.pick(top, start, values.size)
            # Scaled to [-1, 1], where float64 neither underflows nor overflows.
            wide = channels.shifted(values, -largest.exponents, start)
            wide /= own / levels
            np.rint(wide, out=wide)
            wide /= levels
            wide *= own
            return channels.shifted(wide, largest.exponents, start).astype(values.dtype)

        return Mapped(tensor, snap, found)

    def _by_codebook(self, _model: Model, weight: Weight) -> Mapped:
        tensor, count = weight.tensor, self.values or 2
        found = Reduction(lambda _: codebook(tensor, count), 2)

        def snap(values: Array, _start: int) -> Array:
            book = found.result()
            if not book.centres.size:
                return values
            wide = np.ldexp(values.astype(np.float64), -book.exponent)
            between = (book.centres[1:] + book.centres[:-1]) / 2
            taken = book.centres[np.searchsorted(between, wide)]
            result = np.ldexp(taken, book.exponent).astype(values.dtype)
            return np.where(np.isfinite(wide) & (wide != 0), result, values)

        return Mapped(tensor, snap, found)


@dataclass(frozen=True)
class Codebook:
    """The values to which non-zero elements are rounded, in ascending order.

    They are `centres` times 2^`exponent`, so that midpoints between them do not overflow.
    """

    centres: Array
    exponent: int = 0


def codebook(tensor: Tensor, count: int) -> Codebook:
    """Find at most `count` values by k-means (Lloyd), in float64; zero, if present, is one.

    The elements are first counted and summed in 65,536 bins between their minimum and maximum, so
    that a round costs the same for every size; it starts with evenly spaced centres.
    """
    ends = of_tensor(tensor)
    if ends.finite == ends.zeros:
        return Codebook(np.array([]))
    exponent = int(np.frexp(max(abs(ends.low), abs(ends.high)))[1])
    low, high = np.ldexp([ends.low, ends.high], -exponent)
    if low == high:
        return Codebook(np.array([low]), exponent)
    counts, sums = np.zeros(_BINS), np.zeros(_BINS)
    scale = (_BINS - 1) / (high - low)
    for chunk in tensor.chunks():
        wide = np.ldexp(chunk.astype(np.float64), -exponent)
        wide = wide[np.isfinite(wide) & (wide != 0)]
        places = ((wide - low) * scale).astype(np.int64)
        counts += np.bincount(places, minlength=_BINS)
        sums += np.bincount(places, weights=wide, minlength=_BINS)
    used = counts > 0
    centres = _lloyd(counts[used], sums[used], low, high, count - 1 if ends.zeros else count)
    return Codebook(centres, exponent)


def _lloyd(counts: Array, sums: Array, low: float, high: float, count: int) -> Array:
    """Return at most `count` centres of bins with these counts and sums, in [low, high]."""
    means = sums / counts
    centres = np.linspace(low, high, count)
    for _ in range(_ROUNDS):
        nearest = np.searchsorted((centres[1:] + centres[:-1]) / 2, means)
        sizes = np.bincount(nearest, weights=counts, minlength=count)
        moved = np.bincount(nearest, weights=sums, minlength=count)
        new = np.where(sizes > 0, moved / np.maximum(sizes, 1), centres)
        if np.array_equal(new, centres):
            break
        centres = new
    return np.unique(centres)
