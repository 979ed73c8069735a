"""Layers shared between a model and a model nested in it, whose weights `.keras` stores once.

Keras cannot load such a `.keras` file. In an `.h5` file each of the layers has the weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from surgery.architecture import Architecture, Layer
from surgery.architecture.entries import join
from surgery.weights.model import Model
from surgery.weights.weight import Weight


def unshared(model: Model) -> Model:
    """Return the model with shared layers as separate ones, each with the weights."""
    if model.architecture is None or not model.architecture.is_graph:
        return model
    apart = Architecture(_without_numbers(model.architecture.config), shares_layers=False)
    copies = list(_copies(model, apart))
    if not copies:
        return model
    return replace(model, weights=(*model.weights, *copies)).with_architecture(apart)


def _copies(model: Model, apart: Architecture) -> Iterator[Weight]:
    """Yield copies of weights for layers of `apart` that lack them, from equal layers.

    Layers are equal if they have the same name and config.
    """
    for owner, variable in apart.root.weights():
        if variable.address in model.by_address:
            continue
        places = [join(layer.address, variable.name) for layer in _same(apart, owner)]
        twins = [place for place in places if place in model.by_address]
        if len(twins) == 1:
            yield replace(model[twins[0]], address=variable.address, stored=(), slots=())


def notes(model: Model) -> list[str]:
    """Return the notes on layers that become two."""
    added = unshared(model).weights[len(model.weights) :]
    owners = dict.fromkeys(weight.layer for weight in added)
    return [
        f"{layer} is shared; the file has it twice, and trains each separately" for layer in owners
    ]


def _same(architecture: Architecture, owner: Layer) -> list[Layer]:
    return [
        layer
        for layer in architecture.layers
        if (layer.name, layer.class_name) == (owner.name, owner.class_name)
        and layer.config == owner.config
    ]


def _without_numbers(value: Any) -> Any:
    """Return a config without the ids that Keras gives to shared objects."""
    if isinstance(value, Mapping):
        return {k: _without_numbers(v) for k, v in value.items() if k != "shared_object_id"}
    return [_without_numbers(item) for item in value] if isinstance(value, list) else value
