"""`shift`: add a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from surgery.declared.fields import key
from surgery.ops._slices import SlicedFloatOp
from surgery.ops.base import op
from surgery.weights.arithmetic import with_number
from surgery.weights.model import Model
from surgery.weights.weight import Weight


@op
@dataclass(frozen=True, kw_only=True)
class Shift(SlicedFloatOp):
    """Add a number to the selected weights."""

    by: float = key("The number to add.", 0.1)

    def changed(self, model: Model, weights: Sequence[Weight]) -> Model:
        return model.map(weights, with_number(lambda values, by: values + by, self.by))
