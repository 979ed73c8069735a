"""`normalize`: divide by a norm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from surgery.declared.fields import key
from surgery.ops.base import FloatOp, op
from surgery.weights.channels import Norm, norm_passes, norms, output_channels, whole
from surgery.weights.model import Model
from surgery.weights.tensor import Array, Mapped, Reduction
from surgery.weights.weight import Weight


@op
@dataclass(frozen=True, kw_only=True)
class Normalize(FloatOp):
    """Divide the selected weights by their norm; a weight that is all zero stays zero."""

    norm: Norm = key("The norm: l1 (sum of magnitudes), l2 (Euclidean) or max.", "l2", default="l2")
    per: Literal["tensor", "output_channel"] = key(
        "One norm for each weight, or one for each output channel.",
        "output_channel",
        default="tensor",
    )
    to: float = key("The norm afterwards.", 1.0, default=1.0)

    def changed(self, model: Model, weights: Sequence[Weight]) -> Model:
        return model.with_weights(
            weight.with_tensor(self._normalized(model, weight)) for weight in weights
        )

    def _normalized(self, model: Model, weight: Weight) -> Mapped:
        tensor = weight.tensor
        channels = whole(weight) if self.per == "tensor" else output_channels(model, weight)
        found = Reduction(
            lambda pool: norms([tensor], [channels], self.norm, pool),
            norm_passes(tensor, self.norm),
        )

        def divide(values: Array, start: int) -> Array:
            norm = found.result()
            is_zero = norm.values == 0
            factors = np.where(is_zero, 1.0, self.to / np.where(is_zero, 1.0, norm.values))
            own = channels.pick(factors, start, values.size)
            with np.errstate(over="ignore", invalid="ignore"):
                scaled = channels.shifted(values, -norm.exponents, start) * own
                return scaled.astype(values.dtype)

        return Mapped(tensor, divide, found)
