"""`clip`: limit to a range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from surgery.declared.fields import key
from surgery.ops._slices import SlicedFloatOp
from surgery.ops.base import op
from surgery.weights.arithmetic import compute_dtype, finfo, held
from surgery.weights.model import Model
from surgery.weights.tensor import Array
from surgery.weights.weight import Weight


@op
@dataclass(frozen=True, kw_only=True)
class Clip(SlicedFloatOp):
    """Limit the selected weights to a range; NaN stays NaN."""

    min: float | None = key("No element is below this.", -1.0, default=None, in_example=True)
    max: float | None = key("No element is above this.", 1.0, default=None, in_example=True)

    def __post_init__(self) -> None:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")

    def changed(self, model: Model, weights: Sequence[Weight]) -> Model:
        return model.map(weights, self._clip)

    def _clip(self, values: Array, _start: int) -> Array:
        wide = compute_dtype(values.dtype)
        low, high = (_limit(end, values.dtype) for end in (self.min, self.max))
        clipped: Array = np.clip(values.astype(wide), low, high, dtype=wide)
        return clipped.astype(values.dtype)


def _limit(end: float | None, dtype: np.dtype[Any]) -> float | None:
    """Round a limit to the dtype; outside its range, return its largest finite number."""
    if end is None:
        return None
    largest = float(finfo(dtype).max)
    return min(max(held(end, dtype), -largest), largest)
