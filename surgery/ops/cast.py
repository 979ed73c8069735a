"""`cast`: convert to another floating dtype."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from surgery.architecture import Architecture
from surgery.architecture.dtypes import with_dtype
from surgery.declared.fields import key
from surgery.errors import SelectorError
from surgery.ops.base import FloatOp, is_quantised, op
from surgery.weights.arithmetic import is_float, is_whole
from surgery.weights.model import Model
from surgery.weights.tensor import Array, Mapped, Tensor, dtype_named
from surgery.weights.weight import Weight


@op
@dataclass(frozen=True, kw_only=True)
class Cast(FloatOp):
    """Cast the selected weights to another floating dtype, and their layers' dtype policy."""

    to: Literal["float16", "bfloat16", "float32", "float64"] = key(
        "The dtype; values are rounded to nearest even.", "float16"
    )

    def check(self, model: Model, weights: Sequence[Weight]) -> None:
        for weight in weights:
            if is_quantised(model, weight.address):
                raise SelectorError(
                    f"{weight.address} belongs to a quantised layer, whose values depend on a "
                    "scale; narrow the selector"
                )
            if not _keeps_all(weight.tensor.dtype, self.to):
                raise SelectorError(
                    f"{weight.address} is {weight.tensor.dtype.name}, and {self.to} cannot hold "
                    "all of its values; narrow the selector, for example with dtype: float32"
                )

    def changed(self, model: Model, weights: Sequence[Weight]) -> Model:
        changed = [w.with_tensors(partial(_cast, dtype=dtype_named(self.to))) for w in weights]
        if model.architecture is not None:
            layers = self._layers(model, model.architecture, weights)
            architecture = with_dtype(model.architecture, layers, self.to)
            model = replace(model, architecture=architecture)
        return model.with_moved(changed)

    def _layers(
        self, model: Model, architecture: Architecture, weights: Sequence[Weight]
    ) -> list[str]:
        """Return the layers whose dtype policy changes: those selected, or all if all weights are.

        Raises SelectorError if only some weights of a layer are selected.
        """
        selected = {weight.address for weight in weights}
        owners: dict[str, list[Weight]] = {}
        for weight in model.weights:
            owner = architecture.configured_owner(weight.address).address
            owners.setdefault(owner, []).append(weight)
        chosen = []
        for layer, own in owners.items():
            left = [w for w in own if w.address not in selected and is_float(w.tensor.dtype)]
            if len(left) < len(own) and any(w.tensor.dtype.name != self.to for w in left):
                raise SelectorError(
                    f"{self.select} selects only a part of {layer or 'the model'}, not "
                    f"{left[0].address}; a layer of Keras has one dtype: select {layer or '**'}"
                )
            if any(weight.address in selected for weight in own):
                chosen.append(layer)
        if len(chosen) == len(owners):
            return [
                layer.address for layer in architecture.layers if layer.class_name != "InputLayer"
            ]
        return chosen


_EXACT_BITS = {"bfloat16": 8, "float16": 11, "float32": 24, "float64": 53}
"""The most bits of an integer that each dtype represents exactly."""


def _keeps_all(dtype: np.dtype[Any], to: str) -> bool:
    """Return whether a cast only rounds: integers stay exact, and no imaginary part is lost."""
    if not is_whole(dtype):
        return dtype.kind != "c"
    bits = 8 * dtype.itemsize - dtype.name.startswith("int")
    return bits <= _EXACT_BITS[to]


def _cast(tensor: Tensor, dtype: np.dtype[Any]) -> Tensor:
    def change(values: Array, _start: int) -> Array:
        with np.errstate(over="ignore"):
            return values.astype(dtype)

    return Mapped(tensor, change, dtype=dtype)
