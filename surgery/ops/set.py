"""`set`: assign a number, or the values of a `.npy` file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surgery.declared.fields import Number, key
from surgery.errors import SelectorError
from surgery.ops._slices import SlicedOp
from surgery.ops.base import op
from surgery.weights.arithmetic import is_whole
from surgery.weights.model import Model
from surgery.weights.npyfile import open_npy
from surgery.weights.tensor import Array, Tensor
from surgery.weights.weight import Weight


@op
@dataclass(frozen=True, kw_only=True)
class Set(SlicedOp):
    """Set the selected weights to a number, or to the values of a .npy file."""

    array_key = "to"

    to: Number | None = key(
        "The number for every element; true or false for boolean weights.",
        0.5,
        default=None,
        in_example=True,
    )
    npy: Path | None = key(
        "A .npy file of values, in the shape of the weight, or of the slice.",
        "new_kernel.npy",
        default=None,
    )

    values: Tensor | None = None
    """An array that Python code passes as `to`; not a key."""

    def __post_init__(self) -> None:
        if sum(given is not None for given in (self.to, self.npy, self.values)) != 1:
            raise ValueError("give either to (a number) or npy (a file)")

    def apply(self, model: Model) -> Model:
        return self.within(model, self.matched(model), self._assigned)

    def _assigned(self, model: Model, weights: Sequence[Weight]) -> Model:
        if self.npy is not None:
            return _with_values(model, weights, open_npy(self.npy), str(self.npy))
        if self.values is not None:
            return _with_values(model, weights, self.values, "the array")
        assert self.to is not None
        number = self.to
        for weight in weights:
            if not _holds(weight.tensor.dtype, number.value):
                raise SelectorError(
                    f"{weight.address} is {weight.tensor.dtype.name}, which cannot hold {number}"
                )

        def fill(values: Array, _start: int) -> Array:
            return np.full(values.shape, number.value, values.dtype)

        return model.map(weights, fill)

    def inputs(self) -> tuple[Path, ...]:
        return () if self.npy is None else (self.npy,)


def _with_values(model: Model, weights: Sequence[Weight], values: Tensor, origin: str) -> Model:
    """Return the model with those values in each weight; raises SelectorError if they do not fit.

    `origin` names the values in errors.
    """
    for weight in weights:
        if values.shape != weight.tensor.shape:
            raise SelectorError(
                f"{origin} has the shape {list(values.shape)}, but {weight.address} has "
                f"{list(weight.tensor.shape)}"
            )
        if not np.can_cast(values.dtype, weight.tensor.dtype, "same_kind"):
            raise SelectorError(
                f"{origin} holds {values.dtype.name}, which does not go into "
                f"{weight.address}, a {weight.tensor.dtype.name}"
            )
        if is_whole(weight.tensor.dtype):
            _check_fits(values, weight, origin)

    def take(chunk: Array, start: int) -> Array:
        with np.errstate(over="ignore"):
            return values.read(start, start + chunk.size).astype(chunk.dtype)

    return model.map(weights, take)


def _holds(dtype: np.dtype[Any], number: bool | float) -> bool:
    """Return whether a dtype can hold a number: integers exactly, floats rounded but finite."""
    if isinstance(number, bool) or dtype == np.bool_:
        return dtype == np.bool_ and number in (False, True)
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            there = np.array(number).astype(dtype)
    except OverflowError:
        return False
    if is_whole(dtype):
        return int(there) == number
    return bool(np.isfinite(there.astype(np.complex128)))


def _check_fits(values: Tensor, weight: Weight, origin: str) -> None:
    """Raise SelectorError if the weight's integer dtype cannot hold a value exactly."""
    dtype = weight.tensor.dtype
    for chunk in values.chunks():
        lost = chunk[chunk.astype(dtype) != chunk]
        if lost.size:
            raise SelectorError(
                f"{origin} holds {lost[0]}, which {weight.address}, a {dtype.name}, cannot hold"
            )
