"""New layers on a tensor of some shape: their configs, variables and outputs, as Keras has them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from surgery.errors import SurgeryError
from surgery.live.applications import variable_facts
from surgery.live.permission import may_run_code
from surgery.live.quiet import import_keras
from surgery.live.symbolic import reason, without_memory
from surgery.storage.cache import by_config

_FORMAT = 1

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class BuiltLayer:
    """A layer as Keras serialises it once it is built.

    `variables` are dicts of name, shape, dtype and initializer in the order of `layer.weights`;
    `shape` and `dtype` are those of its output.
    """

    entry: Mapping[str, Any]
    variables: Sequence[Mapping[str, Any]]
    shape: Shape
    dtype: str


def built_layers(
    layers: Sequence[Mapping[str, Any]], shape: Shape, dtype: str
) -> Sequence[BuiltLayer]:
    """Return layers as Keras builds them one after another, nothing allocated.

    `layers` are class names with configs; `shape` (the batch's size first) and `dtype` are those
    of the first one's input. The answer is kept in the cache. Raises SurgeryError where Keras
    refuses, with the layer's name.
    """
    kept = by_config("layers", _FORMAT, {"layers": layers, "shape": shape, "dtype": dtype})
    found = kept.read()
    if found is None:
        found = {"built": _built(layers, shape, dtype)}
        kept.write(found)
    return [
        BuiltLayer(each["entry"], each["variables"], tuple(each["shape"]), each["dtype"])
        for each in found["built"]
    ]


def _built(layers: Sequence[Mapping[str, Any]], shape: Shape, dtype: str) -> list[dict[str, Any]]:
    import_keras()
    import keras

    found = []
    with without_memory():
        tensor = keras.KerasTensor(shape, dtype)
        for given in layers:
            try:
                layer = keras.saving.deserialize_keras_object(
                    _with_module(given), safe_mode=not may_run_code()
                )
                tensor = layer(tensor)
            except Exception as error:  # Keras raises whatever a layer's own code does
                name = given["config"].get("name") or given["class_name"]
                size = "x".join("?" if n is None else str(n) for n in shape[1:])
                raise SurgeryError(
                    f"Keras cannot put {name} ({given['class_name']}) behind a tensor of {size}: "
                    f"{reason(error)}"
                ) from None
            if not isinstance(tensor, keras.KerasTensor):
                raise SurgeryError(f"{layer.name} returns several tensors, and one is needed")
            shape = tensor.shape
            found.append(
                {
                    "entry": json.loads(json.dumps(keras.saving.serialize_keras_object(layer))),
                    "variables": [variable_facts(variable) for variable in layer.weights],
                    "shape": list(tensor.shape),
                    "dtype": tensor.dtype,
                }
            )
    return found


def _with_module(value: Any) -> Any:
    """Return a layer's config, and those of the layers in it, with the module of Keras."""
    if isinstance(value, list):
        return [_with_module(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    made = {key: _with_module(item) for key, item in value.items()}
    if set(value) == {"class_name", "config"}:
        made |= {"module": "keras.layers", "registered_name": None}
        if ">" in str(value["class_name"]):
            made |= {"module": None, "registered_name": value["class_name"]}
            made["class_name"] = str(value["class_name"]).rpartition(">")[2]
    return made
