"""Keras 3 configs converted to Keras 2 (TensorFlow 2.12 to 2.15), where Keras 2 can express them.

The new configs consist of arguments that Keras 2 is known to take (`arguments.py`), nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from surgery.architecture.downgrades import arguments, calls, operations
from surgery.architecture.entries import class_of, is_of_keras, is_operation, join

Config = dict[str, Any]

_CONTAINERS = ("Functional", "Sequential")
_LAYERS_INSIDE = ("layer", "backward_layer", "cell")
_KINDS = {"initializer": "initializers", "regularizer": "regularizers",
          "constraint": "constraints"}  # fmt: skip
_LOOKUPS = ("IntegerLookup", "StringLookup", "TextVectorization")
_REDUCTIONS = ("none", "sum", "sum_over_batch_size")
_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")


@dataclass
class Downgrade:
    """The `problems` that Keras 2 cannot express, and `notes` for the user, by layer."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def downgraded(config: Mapping[str, Any]) -> tuple[Config, Downgrade]:
    """Convert a Keras 3 model's config to Keras 2; also returns the problems found."""
    found = Downgrade()
    if class_of(config) not in _CONTAINERS:
        own = f"{class_of(config)} is a model of its own class, which a file does not rebuild"
        found.problems.append(own)
        return {}, found
    try:
        _named(config, "", found)
        return _entry(config, "", found), found
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        found.problems.append(f"its config is not in the form that Keras 3 writes ({what})")
        return {}, found


def _entry(entry: Mapping[str, Any], where: str, found: Downgrade) -> Config:
    """Convert a layer's or model's entry; `where` is its address."""
    class_name = class_of(entry)
    config = {**_built_for(entry), **(entry.get("config") or {})}
    if class_name == "Functional":
        new = _functional(config, where, found)
    elif class_name == "Sequential":
        new = _sequential(config, where, found)
    elif class_name in arguments.table()["layers"] and class_name != "RandomCrop":
        new = _layer(class_name, config, where, found)
    else:
        found.problems.append(f"{where}: {_unknown(class_name)}")
        new = {}
    return {"class_name": class_name, "config": new}


def _built_for(entry: Mapping[str, Any]) -> Config:
    """Return the input shapes that Keras 2 has among MultiHeadAttention's arguments."""
    if class_of(entry) != "MultiHeadAttention":
        return {}
    shapes = (entry.get("build_config") or {}).get("shapes_dict") or {}
    query, value = shapes.get("query_shape"), shapes.get("value_shape")
    key = shapes.get("key_shape") or value
    return {"query_shape": query, "value_shape": value, "key_shape": key}


def _unknown(class_name: str) -> str:
    if class_name == "RandomCrop":
        return "RandomCrop of Keras 2 crops in predict too, which that of Keras 3 does not"
    if class_name == "Lambda":
        return "a Lambda's code is not carried from one version of Python to another"
    if not is_of_keras(class_name):
        return f"{class_name} is a custom class, written for Keras 3"
    return f"Keras 2 has no class {class_name}"


def _named(entry: Mapping[str, Any], owner: str, found: Downgrade) -> str:
    """Return the address of a layer or the model, after checking that TensorFlow takes its name."""
    name = str((entry.get("config") or {}).get("name") or "")
    if not _NAME.fullmatch(name):
        found.problems.append(
            f"{join(owner, name)!r} is not a name that TensorFlow accepts; rename it"
        )
    return join(owner, name)


def _sequential(config: Config, where: str, found: Downgrade) -> Config:
    layers = config["layers"]
    if not layers or class_of(layers[0]) != "InputLayer":
        found.problems.append(f"{where or 'the model'} has no input shape: it was never built")
    new = [_entry(layer, _named(layer, where, found), found) for layer in layers]
    return {"name": config.get("name"), "layers": new}


def _functional(config: Config, where: str, found: Downgrade) -> Config:
    # Keras 2 counts the calls of a nested model from 1. So does Keras 3 for its ends, except
    # those of a Sequential.
    inner = {layer["config"].get("name"): class_of(layer) for layer in config["layers"]}
    counted = {name for name, class_name in inner.items() if class_name in _CONTAINERS}
    at_ends = {name for name in counted if inner[name] == "Sequential"}
    new = {
        "name": config.get("name"),
        "trainable": config.get("trainable", True),
        "layers": [_in_graph(layer, where, counted, found) for layer in config["layers"]],
        "input_layers": calls.ends(config.get("input_layers"), at_ends),
        "output_layers": calls.ends(config.get("output_layers"), at_ends),
    }
    if not new["trainable"]:
        _freeze(new)
    return new


def _freeze(config: Config) -> None:
    """Freeze all layers of a model: Keras 2 does not keep the model's own `trainable` flag."""
    for layer in config["layers"]:
        if layer["class_name"] != "InputLayer":
            layer["config"]["trainable"] = False
        if "layers" in layer["config"]:
            _freeze(layer["config"])


def _in_graph(entry: Mapping[str, Any], owner: str, counted: set[str], found: Downgrade) -> Config:
    """Convert a layer of a functional model, with its calls (`inbound_nodes`)."""
    where = _named(entry, owner, found)
    name = str(entry.get("name") or entry["config"].get("name"))
    try:
        if is_operation(entry):
            return operations.operation(entry, counted)
        new = _entry(entry, where, found)
        nodes = [calls.call(entry, node, counted) for node in entry["inbound_nodes"]]
    except calls.NotInKeras2Error as error:
        found.problems.append(f"{where}: {error}")
        return {"class_name": class_of(entry), "config": {}}
    return {**new, "name": name, "inbound_nodes": nodes}


def _layer(class_name: str, config: Config, where: str, found: Downgrade) -> Config:
    new, odd = arguments.arguments("layers", class_name, config)
    found.problems += [f"{where}: {class_name} of Keras 2 has no {argument}" for argument in odd]
    if class_name in _LOOKUPS:
        if new.get("vocabulary") is None:
            found.problems.append(f"{where}: the file holds no vocabulary of this {class_name}")
        if new.get("output_mode") == "tf_idf" and new.get("idf_weights") is None:
            found.problems.append(f"{where}: the file holds no idf_weights of this {class_name}")
        if class_name == "TextVectorization" or new.get("output_mode") == "int":
            new.pop("dtype", None)  # in Keras 2 this is the dtype of the words
    return {key: _value(key, value, where, found) for key, value in new.items()}


def _value(key: str, value: Any, where: str, found: Downgrade) -> Any:
    """Convert the value of a layer's argument."""
    if key in _LAYERS_INSIDE and isinstance(value, Mapping):
        return _entry(value, where, found)
    if key == "cells":
        return [_entry(cell, where, found) for cell in value]
    if key == "dtype":
        return _dtype(value, where, found)
    if key.endswith("activation"):
        return _activation(key, value, where, found)
    kind = _KINDS.get(key.rpartition("_")[2])
    if kind and isinstance(value, Mapping):
        return _object(kind, value, f"{where}: {key}", found)
    return _plain(value, f"{where}: {key}", found)


def _activation(key: str, value: Any, where: str, found: Downgrade) -> Any:
    # As a recurrent activation, it is replaced by scaling weights (gates.py).
    if value == "hard_sigmoid" and key == "recurrent_activation":
        return value
    if value is not None and value not in arguments.table()["activations"]:
        found.problems.append(
            f"{where}: Keras 2 has no {key} that equals {json.dumps(value)}"
            + (", which is another function there" if value == "hard_sigmoid" else "")
        )
    return value


def _dtype(value: Any, where: str, found: Downgrade) -> Any:
    """Return the name of a dtype policy."""
    if isinstance(value, Mapping) and value.get("class_name") == "DTypePolicy":
        value = value["config"]["name"]
    if isinstance(value, Mapping) or "_from_" in str(value):
        found.problems.append(f"{where}: Keras 2 has no dtype policy like {json.dumps(value)}")
    return value


def _object(kind: str, value: Mapping[str, Any], where: str, found: Downgrade) -> Config:
    """Convert an initializer, optimizer, loss..., with the arguments that Keras 2 takes."""
    class_name = str(value.get("class_name"))
    if value.get("registered_name") or class_name not in arguments.table()[kind]:
        found.problems.append(f"{where}: Keras 2 has no {class_name}")
        return {}
    new, odd = arguments.arguments(kind, class_name, value.get("config") or {})
    found.problems += [f"{where}: {class_name} of Keras 2 has no {argument}" for argument in odd]
    plain = {key: _plain(item, f"{where}: {key}", found) for key, item in new.items()}
    return {"class_name": class_name, "config": plain}


def _plain(value: Any, where: str, found: Downgrade) -> Any:
    """Return a number, text or list unchanged, and a serialised array as a list."""
    if isinstance(value, Mapping):
        if value.get("class_name") in calls.ARRAYS:
            return value["config"]["value"]
        found.problems.append(f"{where} cannot be stored in a file of Keras 2")
    return value


def compiled(kind: str, value: Any) -> tuple[Any, Downgrade]:
    """Convert an optimizer, or any nesting of losses or metrics; also returns the problems."""
    found = Downgrade()
    return _compiled(kind, value, found), found


def _compiled(kind: str, value: Any, found: Downgrade) -> Any:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_compiled(kind, item, found) for item in value]
    if isinstance(value, str) and value not in arguments.table()[f"{kind}_by_name"]:
        found.problems.append(f"{kind}: Keras 2 has no {value}")
    if not isinstance(value, Mapping):
        return value
    if "class_name" not in value:
        return {key: _compiled(kind, item, found) for key, item in value.items()}
    rate = (value.get("config") or {}).get("learning_rate")
    if isinstance(rate, Mapping):
        schedule = _object("schedules", rate, "learning_rate", found)
        new = _compiled(kind, {**value, "config": {**value["config"], "learning_rate": 0}}, found)
        return {**new, "config": {**new["config"], "learning_rate": schedule}}
    reduction = (value.get("config") or {}).get("reduction", "sum")
    if reduction not in _REDUCTIONS:
        found.problems.append(f"{kind}: Keras 2 has no reduction {json.dumps(reduction)}")
    new = _object(kind, value, kind, found)
    if kind == "optimizers":  # without `Custom>`, Keras 2 makes the optimizer of TensorFlow 2.10
        new["class_name"] = f"Custom>{new.get('class_name')}"
    return new
