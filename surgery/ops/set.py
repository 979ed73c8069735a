"""`set`: a number, or the values of a `.npy` file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from surgery.declaration import key
from surgery.errors import SelectorError
from surgery.ops._base import WeightOp, op
from surgery.weights.model import Model
from surgery.weights.npyfile import open_npy
from surgery.weights.tensor import Array
from surgery.weights.weight import Weight


@op
@dataclass(frozen=True, kw_only=True)
class Set(WeightOp):
    """Set the selected weights to a number, or to the values of a .npy file."""

    to: float | None = key(
        "The number that every element becomes.", 0.5, default=None, in_example=True
    )
    npy: Path | None = key(
        "A .npy file of the weight's own shape, whose values it takes.",
        "new_kernel.npy",
        default=None,
    )

    def __post_init__(self) -> None:
        if (self.to is None) == (self.npy is None):
            raise ValueError("give either to (a number) or npy (a file)")

    def apply(self, model: Model) -> Model:
        weights = self.matched(model)
        if self.npy is not None:
            return self._from_file(model, weights, self.npy)
        for weight in weights:
            self._check_held(weight)

        def fill(values: Array, _start: int) -> Array:
            return np.full(values.shape, self.to, values.dtype)

        return model.map(weights, fill)

    def inputs(self) -> tuple[Path, ...]:
        return () if self.npy is None else (self.npy,)

    def _check_held(self, weight: Weight) -> None:
        dtype = weight.tensor.dtype
        number = self.to or 0.0
        if dtype.kind in "iu":
            limits = np.iinfo(dtype)
            holds = float(number).is_integer() and limits.min <= number <= limits.max
        else:
            with np.errstate(over="ignore"):
                holds = bool(np.isfinite(np.array(number).astype(dtype).astype(np.complex128)))
        if not holds:
            raise SelectorError(f"{weight.address} is {dtype.name}, which cannot hold {self.to:g}")

    def _from_file(self, model: Model, weights: tuple[Weight, ...], path: Path) -> Model:
        values = open_npy(path)
        for weight in weights:
            if values.shape != weight.tensor.shape:
                raise SelectorError(
                    f"{path} has the shape {list(values.shape)}, but {weight.address} has "
                    f"{list(weight.tensor.shape)}"
                )
            if not np.can_cast(values.dtype, weight.tensor.dtype, "same_kind"):
                raise SelectorError(
                    f"{path} holds {values.dtype.name}, which does not go into "
                    f"{weight.address}, a {weight.tensor.dtype.name}"
                )
        return model.map(
            weights,
            lambda chunk, start: values.read(start, start + chunk.size).astype(chunk.dtype),
        )
