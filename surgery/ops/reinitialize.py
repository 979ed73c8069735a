"""`reinitialize`: draw new values from a Keras initialiser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from surgery.declared.fields import key
from surgery.errors import SelectorError
from surgery.ops.base import FloatOp, op
from surgery.weights.initializers import initialized
from surgery.weights.model import Model
from surgery.weights.tensor import Array, Mapped
from surgery.weights.weight import Weight


@op
@dataclass(frozen=True, kw_only=True)
class Reinitialize(FloatOp):
    """Draw new values for the selected weights from a Keras initialiser."""

    initializer: str | None = key(
        "A class of keras.initializers; by default the one in the layer's config.",
        "HeNormal",
        default=None,
    )
    arguments: Mapping[str, Any] | None = key(
        "The initialiser's arguments, as in Keras (its seed is ignored).",
        {"stddev": 0.02},
        default=None,
    )

    def __post_init__(self) -> None:
        if self.arguments is not None and self.initializer is None:
            raise ValueError("arguments go with an initializer; name it")

    def changed(self, model: Model, weights: Sequence[Weight]) -> Model:
        return model.with_weights(
            weight.with_tensor(self._drawn(model, weight)) for weight in weights
        )

    def _drawn(self, model: Model, weight: Weight) -> Mapped:
        class_name, config = self.initializer or "", self.arguments or {}
        if not class_name:
            class_name, config = _own(model, weight)
        tensor = weight.tensor
        random = self.draws
        new = initialized(
            class_name, config, tensor.shape, tensor.dtype, random.seed, random.step, weight.address
        )

        def take(values: Array, start: int) -> Array:
            return new.read(start, start + values.size)

        return Mapped(tensor, take)


_KEYS = {
    "recurrent_kernel": "recurrent_initializer",
    "depthwise_kernel": "depthwise_initializer",
    "pointwise_kernel": "pointwise_initializer",
    "kernel": "depthwise_initializer",  # for depthwise convolutions, tried after kernel_initializer
}
"""The config keys of initialisers that are not `<variable>_initializer`."""

_FIXED = {"beta": "Zeros", "gamma": "Ones", "moving_mean": "Zeros", "moving_variance": "Ones"}


def _own(model: Model, weight: Weight) -> tuple[str, Mapping[str, Any]]:
    """Return the (class name, config) of the initialiser in the layer's config.

    Raises SelectorError if there is none.
    """
    architecture = model.need_architecture("its initialisers are in the config; name one")
    layer = architecture.configured_owner(weight.address)
    keys = (f"{weight.variable}_initializer", _KEYS.get(weight.variable, ""))
    found = next((layer.config[key] for key in keys if key in layer.config), None)
    if weight.variable == "bias" and layer.config.get("unit_forget_bias"):
        return "UnitForgetBias", {}
    if found is None and weight.variable in _FIXED:
        return _FIXED[weight.variable], {}
    if isinstance(found, str):
        found = {"class_name": "".join(part.title() for part in found.split("_")), "config": {}}
    if not isinstance(found, Mapping) or not isinstance(found.get("class_name"), str):
        raise SelectorError(
            f"the config of {layer.address} ({layer.class_name}) names no initializer for "
            f"{weight.variable}; give one"
        )
    config = found.get("config")
    return found["class_name"], config if isinstance(config, Mapping) else {}
