"""Keras 2's `hard_sigmoid`, clip(0.2 x + 0.5), outside of recurrent gates, by layers of Keras 3.

Keras 3 computes relu6(x + 3) / 6 under that name. For recurrent gates, columns of the weights
are scaled when they are written (architecture/gates.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from surgery.architecture.upgrades._notes import Config, Upgrade
from surgery.architecture.upgrades.graph import references
from surgery.architecture.upgrades.layers import RECURRENT
from surgery.architecture.upgrades.objects import keras_object


def without_hard_sigmoid(class_name: str, config: Config, notes: Upgrade) -> Config:
    """Return a model's config with a Rescaling and a ReLU in place of each hard sigmoid."""
    layers: list[Any] = []
    for layer in config["layers"]:
        own = layer.get("config") if isinstance(layer, Mapping) else None
        own = own if isinstance(own, Mapping) else {}
        if own.get("activation") != "hard_sigmoid":
            _refuse_inside(layer, notes)
            layers.append(layer)
        elif layer.get("class_name") in RECURRENT:
            _refuse(own, notes)
            layers.append(layer)
        elif class_name == "Sequential":
            layers += _in_a_row(layer, notes)
        elif layer.get("class_name") == "Activation":
            layers += _before(layer, notes)
        else:
            layers += _behind(layer, config, notes)
    return {**config, "layers": layers}


def _refuse(config: Mapping[str, Any], notes: Upgrade) -> None:
    notes.refused.append(
        f"{config.get('name')}: activation: hard_sigmoid is another function in Keras 3 "
        "(relu6(x + 3) / 6, before clip(0.2 x + 0.5))"
    )


def _refuse_inside(value: Any, notes: Upgrade) -> None:
    """Add wrapped layers with this activation to `notes.refused`.

    Nested models are converted already.
    """
    if not isinstance(value, Mapping):
        return
    config = value.get("config")
    for key in ("layer", "cell", "cells", "backward_layer"):
        inner = config.get(key) if isinstance(config, Mapping) else None
        for each in inner if isinstance(inner, list) else [inner]:
            own = each.get("config") if isinstance(each, Mapping) else None
            if isinstance(own, Mapping) and own.get("activation") == "hard_sigmoid":
                _refuse(own, notes)
            _refuse_inside(each, notes)


def _rescaling(name: str, dtype: Any) -> Config:
    return _layer("Rescaling", {"name": name, "scale": 0.2, "offset": 0.5}, dtype)


def _clipping(name: str, dtype: Any) -> Config:
    return _layer("ReLU", {"name": name, "max_value": 1.0}, dtype)


def _layer(class_name: str, config: Config, dtype: Any) -> Config:
    own = {**config, "trainable": True, **({"dtype": dtype} if dtype else {})}
    return {**keras_object("keras.layers", class_name, own), "name": config["name"]}


def _in_a_row(layer: Config, notes: Upgrade) -> list[Config]:
    own = layer["config"]
    name, dtype = own["name"], own.get("dtype")
    _tell(name, notes)
    if layer["class_name"] == "Activation":
        return [_rescaling(f"{name}_rescaled", dtype), _clipping(name, dtype)]
    linear = {**layer, "config": {**own, "activation": "linear"}}
    return [linear, _rescaling(f"{name}_rescaled", dtype), _clipping(f"{name}_clipped", dtype)]


def _before(layer: Config, notes: Upgrade) -> list[Config]:
    """Replace an Activation layer in a graph by a Rescaling and a ReLU of the layer's name."""
    own = layer["config"]
    name, dtype = own["name"], own.get("dtype")
    _tell(name, notes)
    first = {**_rescaling(f"{name}_rescaled", dtype), "inbound_nodes": layer["inbound_nodes"]}
    return [first, _called_on(_clipping(name, dtype), first["name"], len(layer["inbound_nodes"]))]


def _behind(layer: Config, config: Config, notes: Upgrade) -> list[Config]:
    """Put a Rescaling and a ReLU behind a layer in a graph, and redirect its output to them."""
    own = layer["config"]
    name, dtype, calls = own["name"], own.get("dtype"), len(layer["inbound_nodes"])
    _tell(name, notes)
    scaled, clipped = f"{name}_rescaled", f"{name}_clipped"
    for reference in list(references([config["layers"], config.get("output_layers")], name)):
        reference[0] = clipped
    return [
        {**layer, "config": {**own, "activation": "linear"}},
        _called_on(_rescaling(scaled, dtype), name, calls),
        _called_on(_clipping(clipped, dtype), scaled, calls),
    ]


def _called_on(layer: Config, name: str, calls: int) -> Config:
    return {**layer, "inbound_nodes": [[[name, number, 0, {}]] for number in range(calls)]}


def _tell(name: str, notes: Upgrade) -> None:
    notes.done.append(f"{name}: hard_sigmoid is a Rescaling and a ReLU, as Keras 2 computes it")
