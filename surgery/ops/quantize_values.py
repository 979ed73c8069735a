"""`quantize_values`: fewer different values, kept as floats."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Literal

import numpy as np

from surgery.declaration import key
from surgery.ops._base import WeightOp, op
from surgery.weights.arithmetic import arithmetic, need_floats
from surgery.weights.channels import norms, output_channels, whole
from surgery.weights.model import Model
from surgery.weights.statistics import of_tensor
from surgery.weights.tensor import Array, Mapped, Reduction, Tensor
from surgery.weights.weight import Weight

_BINS = 1 << 16
_ROUNDS = 100


@op
@dataclass(frozen=True, kw_only=True)
class QuantizeValues(WeightOp):
    """Round the selected weights to few values, which stay floats (weight sharing)."""

    bits: int | None = key(
        "Round to 2^bits - 1 evenly spaced values around zero, up to the largest magnitude.",
        8,
        default=None,
        minimum=2,
        maximum=16,
        in_example=True,
    )
    values: int | None = key(
        "Or to so many values found by k-means, as in Deep Compression (Han et al. 2016).",
        16,
        default=None,
        minimum=2,
        maximum=65536,
    )
    per: Literal["tensor", "output_channel"] = key(
        "With bits: whether each weight has one largest magnitude, or each output channel.",
        "output_channel",
        default="tensor",
    )

    def __post_init__(self) -> None:
        if (self.bits is None) == (self.values is None):
            raise ValueError("give either bits or values")
        if self.values is not None and self.per != "tensor":
            raise ValueError("a codebook of values is one for each tensor; per goes with bits")

    def apply(self, model: Model) -> Model:
        weights = self.matched(model)
        need_floats(weights, self.name)
        make = self._evenly if self.bits is not None else self._by_codebook
        return model.with_weights(weight.with_tensor(make(model, weight)) for weight in weights)

    def _evenly(self, model: Model, weight: Weight) -> Mapped:
        tensor, levels = weight.tensor, 2 ** ((self.bits or 2) - 1) - 1
        channels = whole(weight) if self.per == "tensor" else output_channels(model, weight)
        found = Reduction(lambda pool: norms(tensor, channels, "max", pool) / levels, 1)

        def snap(values: Array, start: int) -> Array:
            steps = found.result()
            steps = np.where(steps > 0, steps, 1)
            own = steps[channels.of(start, values.size)] if steps.size > 1 else steps[0]

            def nearest(wide: Array) -> Array:
                rounded: Array = np.rint(wide / own) * own
                return rounded

            return arithmetic(nearest)(values, start)

        return Mapped(tensor, snap, found)

    def _by_codebook(self, _model: Model, weight: Weight) -> Mapped:
        tensor, count = weight.tensor, self.values or 2
        found = Reduction(lambda pool: codebook(tensor, count, pool), 2)

        def snap(values: Array, start: int) -> Array:
            centres = found.result()
            if not centres.size:
                return values

            def nearest(wide: Array) -> Array:
                between = (centres[1:] + centres[:-1]) / 2
                taken: Array = centres[np.searchsorted(between, wide)]
                return np.where(np.isfinite(wide), taken, wide)

            return arithmetic(nearest)(values, start)

        return Mapped(tensor, snap, found)


def codebook(tensor: Tensor, count: int, _pool: Executor | None = None) -> Array:
    """At most `count` values by k-means (Lloyd), in float64, ascending.

    The elements are first counted and summed in 65,536 bins between their ends, so that a
    round costs the same for every size; it begins with evenly spaced centres.
    """
    ends = of_tensor(tensor)
    if not ends.finite or ends.low == ends.high:
        return np.array([ends.low] if ends.finite else [])
    counts, sums = np.zeros(_BINS), np.zeros(_BINS)
    scale = (_BINS - 1) / (ends.high - ends.low)
    for chunk in tensor.chunks():
        wide = chunk.astype(np.float64)
        wide = wide[np.isfinite(wide)]
        places = ((wide - ends.low) * scale).astype(np.int64)
        counts += np.bincount(places, minlength=_BINS)
        sums += np.bincount(places, weights=wide, minlength=_BINS)
    used = counts > 0
    counts, sums = counts[used], sums[used]
    means = sums / counts
    centres = np.linspace(ends.low, ends.high, count)
    for _ in range(_ROUNDS):
        nearest = np.searchsorted((centres[1:] + centres[:-1]) / 2, means)
        sizes = np.bincount(nearest, weights=counts, minlength=count)
        moved = np.bincount(nearest, weights=sums, minlength=count)
        new = np.where(sizes > 0, moved / np.maximum(sizes, 1), centres)
        if np.array_equal(new, centres):
            break
        centres = new
    return np.unique(centres)
