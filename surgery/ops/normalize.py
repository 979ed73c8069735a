"""`normalize`: divide by a norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from surgery.declaration import key
from surgery.ops._base import WeightOp, op
from surgery.weights.arithmetic import need_floats
from surgery.weights.channels import Norm, norms, output_channels, whole
from surgery.weights.model import Model
from surgery.weights.tensor import Array, Mapped, Reduction
from surgery.weights.weight import Weight


@op
@dataclass(frozen=True, kw_only=True)
class Normalize(WeightOp):
    """Divide the selected weights by their norm; what is zero stays zero."""

    norm: Norm = key("The norm: sum of magnitudes, Euclidean, or largest.", "l2", default="l2")
    per: Literal["tensor", "output_channel"] = key(
        "Whether each weight has one norm, or each of its output channels.",
        "output_channel",
        default="tensor",
    )
    to: float = key("The norm it has afterwards.", 1.0, default=1.0)

    def apply(self, model: Model) -> Model:
        weights = self.matched(model)
        need_floats(weights, self.name)
        return model.with_weights(
            weight.with_tensor(self._normalized(model, weight)) for weight in weights
        )

    def _normalized(self, model: Model, weight: Weight) -> Mapped:
        tensor = weight.tensor
        channels = whole(weight) if self.per == "tensor" else output_channels(model, weight)
        found = Reduction(lambda pool: norms(tensor, channels, self.norm, pool), 1)

        def divide(values: Array, start: int) -> Array:
            every = found.result()
            factors = np.divide(self.to, every, out=np.ones_like(every), where=every != 0)
            own = factors[channels.of(start, values.size)] if every.size > 1 else factors[0]
            with np.errstate(over="ignore", under="ignore"):
                result: Array = (values.astype(np.float64) * own).astype(values.dtype)
            return result

        return Mapped(tensor, divide, found)
