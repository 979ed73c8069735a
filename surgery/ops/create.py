"""`create`: a weight that was not there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from surgery.declared.dtypes import DType
from surgery.declared.fields import key
from surgery.ops._tables import drawn
from surgery.ops.base import Op, op
from surgery.weights.model import Model
from surgery.weights.tables import with_slots_attached, with_table
from surgery.weights.weight import Weight


@op
@dataclass(frozen=True, kw_only=True)
class Create(Op):
    """Make a weight, with values by a Keras initialiser."""

    changes_table = True

    to: str = key("Its address.", "gate/kernel", minLength=1)
    shape: tuple[int, ...] = key("Its shape.", [512, 8])
    initializer: str = key(
        "A class of keras.initializers.", "glorot_uniform", default="zeros", in_example=True
    )
    arguments: Mapping[str, Any] | None = key(
        "The initialiser's arguments, as in Keras (its seed is ignored).",
        {"stddev": 0.02},
        default=None,
    )
    dtype: DType = key("Its dtype.", "float32", default=DType("float32"))

    def __post_init__(self) -> None:
        if min(self.shape, default=0) < 0:
            raise ValueError(f"{list(self.shape)} is no shape")

    @property
    def title(self) -> str:
        return f"{self.name} {self.to}"

    def apply(self, model: Model) -> Model:
        like = self.shape, self.dtype.numpy
        made = Weight(self.to, drawn(self.initializer, self.arguments, like, self.draws, self.to))
        return with_table(with_slots_attached(model), (), [made], self.name)
