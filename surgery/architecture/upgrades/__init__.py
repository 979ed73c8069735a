"""Configs of Keras 1 and 2 as Keras 3 takes them, where that says the same.

`docs/old-keras.md` lists what is done; nothing is guessed, and what has no equal is refused.
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
    """The config of a model that Keras 1 or 2 wrote, for Keras 3, and what was done to it.

    The shapes of its weights tell what an old config leaves out. Nothing of `config` is changed.
    """
    upgrader = _Upgrader(keras_version.startswith("1"), shapes or {})
    return upgrader.entry(upgrader.told_by_shapes(config), ""), upgrader.notes


class _Upgrader:
    def __init__(self, is_keras1: bool, shapes: Shapes) -> None:
        self.is_keras1 = is_keras1
        self.shapes = shapes
        self.notes = Upgrade()

    def told_by_shapes(self, config: Mapping[str, Any]) -> Config:
        """A copy of the config, in which every GRU says whether it has one bias or two."""
        new = copy.deepcopy(dict(config))
        architecture = Architecture(config)
        for layer in architecture.layers if self.shapes else ():
            bias = self.shapes.get(f"{layer.address}/bias")
            if layer.class_name == "GRUCell" and bias and "reset_after" not in layer.config:
                keys = architecture.configured_owner(f"{layer.address}/bias").keys or ()
                at(new, keys)["reset_after"] = len(bias) == 2
        return new

    def entry(self, entry: Mapping[str, Any], address: str) -> Config:
        """A layer, or a model, with all that is in it."""
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
        """A layer, or several, in a layer's own config."""
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
        """The shape of the first layer's kernel, if it is known."""
        first = join(address, _name(layers[0])) if layers else ""
        found = [shape for key, shape in self.shapes.items() if key.startswith(f"{first}/")]
        return found[0] if found else None


def _name(entry: Any) -> str:
    config = entry.get("config") if isinstance(entry, Mapping) else None
    return str(config.get("name") or "") if isinstance(config, Mapping) else ""


def _is_known(entry: Mapping[str, Any]) -> bool:
    """Whether it is a class of Keras's own, or a model; others are for their own code to read."""
    return is_of_keras(class_of(entry)) or entry.get("class_name") in OLD_CLASSES


def _placed(entry: Mapping[str, Any], class_name: str) -> Config:
    """The entry as Keras 3 names that class; what Keras 2 says of its building is left out."""
    places = _MODULES.get(class_name, {"module": "keras.layers", "registered_name": None})
    kept = {key: value for key, value in entry.items() if key not in _OF_BUILDING}
    return {**kept, "class_name": class_name, **places}


_OF_BUILDING = ("build_config", "keras_version", "backend", "compile_config")
