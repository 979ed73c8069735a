"""Conversion of Keras's config between `config.json` of Keras 3 and `model_config` of `.h5`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from surgery.architecture.entries import class_of, is_of_keras
from surgery.architecture.variable_shapes import fits, shape_pattern
from surgery.errors import FormatError
from surgery.weights.model import Carried, Model

_MODULES: Mapping[str, Mapping[str, Any]] = {
    "GroupedQueryAttention": {
        "module": "keras.layers",
        "class_name": "GroupQueryAttention",
        "registered_name": None,
    },
    "Sequential": {"module": "keras", "class_name": "Sequential", "registered_name": None},
    "LayerScale": {"module": "keras.src.applications.convnext", "registered_name": "LayerScale"},
    "Functional": {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "registered_name": "Functional",
    },
}


LOOKUPS = ("StringLookup", "IntegerLookup", "TextVectorization")
"""Keras's layers that have a vocabulary."""

_LARGEST = 16 << 20
"""The most bytes of JSON; a model of 2,000 layers has two million."""


def parse(text: bytes | str, path: Path, what: str) -> Mapping[str, Any]:
    """Parse a JSON object; `what` names it in messages.

    Raises FormatError for anything else, and for too deep nesting.
    """
    if len(text) > _LARGEST:
        raise FormatError(f"{path}: its {what} is absurdly large ({len(text):,} bytes)")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: its {what} is not readable JSON: {error}") from None
    if not isinstance(value, dict):
        raise FormatError(f"{path}: its {what} is not a JSON object")
    return value


def dump(value: object) -> bytes:
    """Serialise a value to JSON bytes as Keras does."""
    return json.dumps(value).encode()


def as_keras3(config: Mapping[str, Any], carried: Carried) -> dict[str, Any]:
    """Return a model's config for `config.json`.

    Layers that Keras 1 or 2 wrote keep their form; an upgraded config has no such layers.
    """
    if "module" in config:
        return dict(config)
    inner = config.get("config")
    if isinstance(inner, list):  # Keras 1's Sequential
        inner = {"name": "sequential", "layers": inner}
    if carried.keras_version.startswith("3"):
        return _modern({**config, "config": inner})
    return {**config, **_module(class_of(config)), "config": inner}


def _modern(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a layer that Keras 3 wrote to `.h5`, and all inside it, to the form in `.keras`."""
    config = entry.get("config")
    if isinstance(config, Mapping) and isinstance(config.get("layers"), list):
        config = {**config, "layers": [_modern(layer) for layer in config["layers"]]}
    if "module" in entry:
        return {**entry, "config": config}
    return {**entry, **_module(class_of(entry)), "config": config}


def _module(class_name: str) -> Mapping[str, Any]:
    """Return the module and names by which Keras 3 finds a class; empty for custom classes."""
    if class_name in _MODULES:
        return _MODULES[class_name]
    return {"module": "keras.layers", "registered_name": None} if is_of_keras(class_name) else {}


def as_h5(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's config for the `model_config` of an `.h5` file."""
    # Keras finds a custom class by its registered name.
    own = not str(config.get("module") or "").startswith("keras")
    name = (config.get("registered_name") if own else None) or config.get("class_name")
    return {"class_name": name, "config": config.get("config")}


def check_shapes(model: Model) -> Model:
    """Return the model; raises FormatError if a stored shape contradicts its layer's config."""
    architecture = model.architecture
    if architecture is None or model.carried.keras_version.startswith("1"):
        return model
    stored = model.by_address
    for layer in architecture.root.walk():
        for variable in layer.variables or ():
            weight = stored.get(variable.address)
            pattern = shape_pattern(layer.class_name, layer.config, variable.name)
            if weight is not None and not fits(weight.tensor.shape, pattern):
                asked = ", ".join("?" if size is None else str(size) for size in pattern or ())
                raise FormatError(
                    f"{model.origin}: {variable.address} is {list(weight.tensor.shape)} (stored as "
                    f"{', '.join(weight.stored)}), the config of its {layer.class_name} requires "
                    f"[{asked}]; the file's weights and its config do not belong together"
                )
    return model


def compile_config(carried: Carried) -> Mapping[str, Any] | None:
    """Return the compile config in Keras 3's form; None if there is none that it can read."""
    if carried.compile_config is not None or carried.training_config is None:
        return carried.compile_config
    if not carried.is_keras3:
        return None
    rest = dict(carried.training_config)
    optimizer = rest.pop("optimizer_config", None)
    if not isinstance(optimizer, Mapping):
        return None
    arguments = {
        name: _with_module(value, "keras.losses" if name == "loss" else "keras.metrics")
        for name, value in rest.items()
    }
    return {"optimizer": _with_module(optimizer, "keras.optimizers"), **arguments}


def _with_module(value: Any, module: str) -> Any:
    """Return an argument of `compile` in the form of `.keras`, where objects name their module."""
    if isinstance(value, list):
        return [_with_module(item, module) for item in value]
    if not isinstance(value, Mapping):
        return value
    if set(value) != {"class_name", "config"}:
        return {name: _with_module(item, module) for name, item in value.items()}
    name = str(value["class_name"])
    if ">" in name:  # a registered custom class, found by that name
        last = name.rpartition(">")[2]
        return {**value, "module": None, "class_name": last, "registered_name": name}
    return {"module": module, **value, "registered_name": None}


def scales_loss(carried: Carried) -> bool:
    """Return whether the optimizer is wrapped in a LossScaleOptimizer."""
    optimizer = (compile_config(carried) or {}).get("optimizer")
    return isinstance(optimizer, Mapping) and optimizer.get("class_name") == "LossScaleOptimizer"


def training_config(carried: Carried) -> Mapping[str, Any] | None:
    """Return the compile config in the form of `.h5`; None if there is none it can store."""
    if carried.training_config is not None or not carried.compile_config:
        return carried.training_config
    rest = dict(carried.compile_config)
    optimizer = rest.pop("optimizer", None)
    if not isinstance(optimizer, Mapping):
        return None
    name = optimizer.get("registered_name") or optimizer.get("class_name")
    named = {"class_name": name, "config": optimizer.get("config")}
    return {**rest, "optimizer_config": named}
