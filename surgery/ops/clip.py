"""`clip`: limit to a range."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from surgery.declaration import key
from surgery.ops._base import WeightOp, op
from surgery.weights.arithmetic import arithmetic, need_floats
from surgery.weights.model import Model
from surgery.weights.tensor import Array


@op
@dataclass(frozen=True, kw_only=True)
class Clip(WeightOp):
    """Limit the selected weights to a range; NaN stays NaN."""

    min: float | None = key("No element is below this.", -1.0, default=None, in_example=True)
    max: float | None = key("No element is above this.", 1.0, default=None, in_example=True)

    def __post_init__(self) -> None:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")

    def apply(self, model: Model) -> Model:
        weights = self.matched(model)
        need_floats(weights, self.name)
        return model.map(weights, arithmetic(self._clip))

    def _clip(self, values: Array) -> Array:
        limits = [None if end is None else values.dtype.type(end) for end in (self.min, self.max)]
        clipped: Array = np.clip(values, *limits)
        return clipped
