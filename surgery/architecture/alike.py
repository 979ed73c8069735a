"""Comparison of models up to the layer names that Keras numbers automatically (`dense_2`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from surgery.architecture.entries import snake_case
from surgery.architecture.layer import Layer
from surgery.architecture.renaming import with_names
from surgery.architecture.tree import Architecture

_OTHERS = {"InputLayer": "input|input_layer", "Functional": "model|functional", "Model": "model"}
_COUNTED = "shared_object_id"


def names_in(architecture: Architecture, other: Architecture) -> Mapping[str, str]:
    """Return {address: name in `other`} for the layers whose names differ between two models.

    Empty if the models differ in more than automatic names (`dense`, `dense_2`).
    """
    pairs = list(zip(_named(architecture), _named(other), strict=False))
    names = {ours.address: theirs.name for ours, theirs in pairs if ours.name != theirs.name}
    if not names or not all(map(_is_automatic, *zip(*pairs, strict=True))):
        return {}
    same = _plain(with_names(architecture, names)) == _plain(other)
    return names if same else {}


def _named(architecture: Architecture) -> list[Layer]:
    return [layer for layer in architecture.layers if layer.keys and not layer.repeat]


def _is_automatic(ours: Layer, theirs: Layer) -> bool:
    if ours.name == theirs.name:
        return True
    stem = _OTHERS.get(ours.class_name, snake_case(ours.class_name))
    return all(re.fullmatch(rf"({stem})(_\d+)?", layer.name) for layer in (ours, theirs))


def _plain(architecture: Architecture) -> Any:
    """Return the config without the model's name, automatic input names and object ids."""
    config = architecture.config.get("config")
    inner = config.items() if isinstance(config, Mapping) else ()
    return _uncounted({name: value for name, value in inner if name != "name"})


def _uncounted(value: Any) -> Any:
    if isinstance(value, Mapping):
        if value.get("class_name") == "InputLayer":  # nothing in a Sequential refers to its name
            config = value.get("config")
            inner = config if isinstance(config, Mapping) else {}
            value = {**value, "name": "", "config": {**inner, "name": ""}}
        return {name: _uncounted(item) for name, item in value.items() if name != _COUNTED}
    return [_uncounted(item) for item in value] if isinstance(value, list) else value
