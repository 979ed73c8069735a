"""`scale`: multiply."""

from __future__ import annotations

from dataclasses import dataclass

from surgery.declaration import key
from surgery.ops._base import WeightOp, op
from surgery.weights.arithmetic import arithmetic, need_floats
from surgery.weights.model import Model


@op
@dataclass(frozen=True, kw_only=True)
class Scale(WeightOp):
    """Multiply the selected weights by a number."""

    by: float = key("The factor.", 2.0)

    def apply(self, model: Model) -> Model:
        weights = self.matched(model)
        need_floats(weights, self.name)
        return model.map(weights, arithmetic(lambda values: values * values.dtype.type(self.by)))
