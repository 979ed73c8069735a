"""Configs of Keras 1 and 2 converted to Keras 3, where Keras 3 has an equivalent.

`docs/old-keras.md` lists the conversions; nothing is guessed, and what has no equivalent is
refused.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from surgery.architecture.entries import at, class_of, is_of_keras, join
from surgery.architecture.tree import Architecture
from surgery.architecture.upgrades._notes import Config, Upgrade
from surgery.architecture.upgrades.graph import count_nodes_from_0, upgraded_calls
from surgery.architecture.upgrades.hard_sigmoid import without_hard_sigmoid
from surgery.architecture.upgrades.inputs import with_input
from surgery.architecture.upgrades.keras1 import keras1_layer
from surgery.architecture.upgrades.layers import OLD_CLASSES, upgraded_layer

__all__ = ["Shapes", "Upgrade", "upgraded"]

Shapes = Mapping[str, Sequence[int]]
"""The shapes of weights by address."""

_MODULES: Mapping[str, Config] = {
    "Sequential": {"module": "keras", "registered_name": None},
    "Functional": {"module": "keras.src.models.functional", "registered_name": "Functional"},
}


def upgraded(
    config: Mapping[str, Any], keras_version: str, shapes: Shapes | None = None
) -> tuple[Config, Upgrade]:
    """Convert a config of Keras 1 or 2 to Keras 3; also returns what was changed and refused.

    `shapes`, those of the weights, supply what an old config leaves out. `config` is not changed.
    """
    upgrader = _Upgrader(keras_version.startswith("1"), shapes or {})
    return upgrader.entry(upgrader.with_reset_after(config), ""), upgrader.notes


class _Upgrader:
    def __init__(self, is_keras1: bool, shapes: Shapes) -> None:
        self.is_keras1 = is_keras1
        self.shapes = shapes
        self.notes = Upgrade()

    def with_reset_after(self, config: Mapping[str, Any]) -> Config:
        """Return a copy of the config in which every GRU has `reset_after`, by its bias's rank."""
        new = copy.deepcopy(dict(config))
        architecture = Architecture(config)
        for layer in architecture.layers if self.shapes else ():
            bias = self.shapes.get(f"{layer.address}/bias")
            if layer.class_name == "GRUCell" and bias and "reset_after" not in layer.config:
                keys = architecture.configured_owner(f"{layer.address}/bias").keys or ()
                at(new, keys)["reset_after"] = len(bias) == 2
        return new

    def entry(self, entry: Mapping[str, Any], address: str) -> Config:
        """Convert a layer or model with all layers inside it."""
        config = entry.get("config")
        if isinstance(config, list):  # Keras 1's Sequential
            config = {"name": "sequential", "layers": config}
        class_name = str(entry.get("class_name"))
        if not isinstance(config, Mapping) or not _is_known(entry):
            return dict(entry)
        if isinstance(config.get("layers"), list):
            kind = "Sequential" if class_name == "Sequential" else "Functional"
            return {**_placed(entry, kind), "config": self._container(kind, config, address)}
        config = {key: self._inner(value) for key, value in config.items()}
        name = str(config.get("name") or class_name)
        if self.is_keras1:
            class_name, config = keras1_layer(class_name, name, config, self.notes)
        class_name, config = upgraded_layer(class_name, name, config, self.notes)
        return {**_placed(entry, class_name), "config": config}

    def _inner(self, value: Any) -> Any:
        """Convert a value of a layer's config that may be a layer or a list of layers."""
        if isinstance(value, list):
            return [self._inner(item) for item in value]
        if isinstance(value, Mapping) and isinstance(value.get("config"), Mapping):
            return self.entry(value, "") if _is_known(value) else value
        return value

    def _container(self, class_name: str, config: Mapping[str, Any], address: str) -> Config:
        new = copy.deepcopy(dict(config))
        if class_name == "Sequential":
            with_input(new, self._kernel(new["layers"], address), self.notes)
        else:
            count_nodes_from_0(new, self.notes)
        new["layers"] = [
            self.entry(layer, join(address, _name(layer))) if isinstance(layer, Mapping) else layer
            for layer in new["layers"]
        ]
        if class_name == "Functional":
            new["layers"] = [upgraded_calls(layer, self.notes) for layer in new["layers"]]
        return without_hard_sigmoid(class_name, new, self.notes)

    def _kernel(self, layers: Sequence[Any], address: str) -> Sequence[int] | None:
        """Return the shape of the first layer's kernel, or None if it is unknown."""
        first = join(address, _name(layers[0])) if layers else ""
        found = [shape for key, shape in self.shapes.items() if key.startswith(f"{first}/")]
        return found[0] if found else None


def _name(entry: Any) -> str:
    config = entry.get("config") if isinstance(entry, Mapping) else None
    return str(config.get("name") or "") if isinstance(config, Mapping) else ""


def _is_known(entry: Mapping[str, Any]) -> bool:
    """Return whether it is a Keras class or a model; custom classes are left unchanged."""
    return is_of_keras(class_of(entry)) or entry.get("class_name") in OLD_CLASSES


def _placed(entry: Mapping[str, Any], class_name: str) -> Config:
    """Return the entry with Keras 3's module and class name, without Keras 2's build keys."""
    places = _MODULES.get(class_name, {"module": "keras.layers", "registered_name": None})
    kept = {key: value for key, value in entry.items() if key not in _OF_BUILDING}
    return {**kept, "class_name": class_name, **places}


_OF_BUILDING = ("build_config", "keras_version", "backend", "compile_config")
