"""`shift`: add."""

from __future__ import annotations

from dataclasses import dataclass

from surgery.declaration import key
from surgery.ops._base import WeightOp, op
from surgery.weights.arithmetic import arithmetic, need_floats
from surgery.weights.model import Model


@op
@dataclass(frozen=True, kw_only=True)
class Shift(WeightOp):
    """Add a number to the selected weights."""

    by: float = key("The number to add.", 0.1)

    def apply(self, model: Model) -> Model:
        weights = self.matched(model)
        need_floats(weights, self.name)
        return model.map(weights, arithmetic(lambda values: values + values.dtype.type(self.by)))
