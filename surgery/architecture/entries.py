"""Entries of Keras's configs: their classes and names, and access by keys."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from surgery.architecture.variables import WITHOUT_VARIABLES, known_classes

Keys = tuple[str | int, ...]

_MODULES_OF_KERAS = ("keras", "tf_keras", "keras_core", "tensorflow")
_OPERATIONS = ("keras.ops", "keras.src.ops")


def snake_case(class_name: str) -> str:
    """Return Keras's group name of a class: `BatchNormalization` -> `batch_normalization`."""
    name = re.sub(r"\W+", "", class_name.rpartition(">")[2])
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def class_of(entry: Mapping[str, Any]) -> str:
    """Return the class name of an entry: current names for old ones (Convolution2D -> Conv2D).

    A custom class that has the name of a Keras class gets its package as prefix: `my>Dense`.
    """
    stored = str(entry.get("class_name", ""))
    name = stored.rpartition(">")[2]
    module = str(entry.get("module") or "keras").partition(".")[0]
    package = str(entry.get("registered_name") or stored).rpartition(">")[0]
    if is_of_keras(name) and (package or module not in _MODULES_OF_KERAS):
        return f"{package or module}>{name}"
    if name == "Model" and layer_entries(entry) is not None:
        return "Functional"
    if name == "GroupQueryAttention":  # the public name of the class
        return "GroupedQueryAttention"
    # Older names, which Keras 3 keeps as aliases: Convolution2D, GlobalAvgPool2D, MaxPool2D.
    name = name.replace("Convolution", "Conv").replace("AvgPool", "AveragePool")
    return re.sub(r"Pool(?=\dD$)", "Pooling", name)


def is_of_keras(class_name: str) -> bool:
    """Return whether it is a layer class of Keras (1 to 3) itself."""
    return class_name in WITHOUT_VARIABLES or class_name in known_classes()


def is_operation(entry: Mapping[str, Any]) -> bool:
    """Return whether an entry in a model's list is an operation of Keras 3, such as `x * 2`."""
    return str(entry.get("module") or "").startswith(_OPERATIONS)


def join(*parts: str) -> str:
    """Join the parts that are not empty by `/`."""
    return "/".join(part for part in parts if part)


def at(config: Any, keys: Keys) -> Any:
    """Return the part of a config at a path of keys; raises LookupError if there is none."""
    for key in keys:
        config = config[key]
    return config


def layer_entries(entry: Mapping[str, Any]) -> Sequence[Any] | None:
    """Return the configs of a model's layers; None for one that does not list them."""
    config = entry.get("config")
    layers = config if isinstance(config, list) else None  # Keras 1's Sequential
    if isinstance(config, Mapping):
        layers = config.get("layers")
    if isinstance(layers, list) and all(
        isinstance(x, Mapping) and "class_name" in x for x in layers
    ):
        return layers
    return None
