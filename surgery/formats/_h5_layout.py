"""The layout of `.h5` models: top-level layers, each with its weights in Keras's order."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from surgery.architecture import Architecture, Layer
from surgery.architecture.layer import LayerVariable
from surgery.architecture.renaming import new_address, with_names
from surgery.weights.model import FormatFacts, Model
from surgery.weights.weight import Weight, prefixes

TOP_LEVEL = "top_level_model_weights"
"""The group of weights that no top-level layer owns."""


@dataclass(frozen=True)
class H5Facts(FormatFacts):
    """The top-level layers in the file's order, and the architecture as it is in the file."""

    layers: tuple[str, ...] = ()
    architecture: Architecture | None = None

    def renamed(self, model: Model, names: Mapping[str, str]) -> Model:
        """Return the model with layers renamed in the stored names."""
        before = model.need_architecture("rename acts on layers")
        saved = self.architecture and with_names(self.architecture, names)
        layers = tuple(dict.fromkeys(new_address(before, names, layer) for layer in self.layers))
        weights = (_with_names(weight, before, names) for weight in model.weights)
        return replace(model, weights=tuple(weights), format_facts=H5Facts(layers, saved))


def _with_names(weight: Weight, before: Architecture, names: Mapping[str, str]) -> Weight:
    stored = weight.stored
    for layer, new in names.items():
        if weight.address.startswith(f"{layer}/"):
            old = before.by_address[layer].name
            stored = tuple(_with_name(place, old, new) for place in stored)
    return replace(weight, stored=stored)


def _with_name(place: str, old: str, new: str) -> str:
    """Return a stored name with a layer's name replaced."""
    return re.sub(rf"(?<![^/]){re.escape(old)}(?=/)", lambda _: new, place)


def top_layer(address: str, layers: Collection[str]) -> str:
    """Return the top-level layer that stores a weight; layer names may contain a `/`."""
    return next((owner for owner in prefixes(address) if owner in layers), TOP_LEVEL)


def all_known(layer: Layer) -> bool:
    """Return whether the variables of a layer and all layers inside it are known."""
    return all(inner.variables is not None for inner in layer.walk())


def is_known(layer: Layer, addresses: Collection[str]) -> bool:
    """Return whether a top-level layer's config determines the order of these weights."""
    expected = {variable.address for _, variable in layer.weights()}
    return all_known(layer) and expected == set(addresses)


def legacy_order(layer: Layer) -> list[LayerVariable]:
    """Return a top-level layer's variables in `.h5` order: the trainable ones first."""
    variables = {
        variable.address: (owner, variable) for owner, variable in reversed(list(layer.weights()))
    }
    ordered = [
        variables[a] for a in dict.fromkeys(variable.address for _, variable in layer.weights())
    ]
    if not layer.trainable:
        return [variable for _, variable in ordered]
    trained = [variable for owner, variable in ordered if owner.trainable and variable.trainable]
    rest = [variable for owner, variable in ordered if not (owner.trainable and variable.trainable)]
    return trained + rest
