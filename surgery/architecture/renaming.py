"""Renaming of layers in a model's config, with all references to them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from surgery.architecture.entries import at, join
from surgery.architecture.tree import Architecture

_REFERENCES = ("inbound_nodes", "input_layers", "output_layers")


def with_names(architecture: Architecture, names: Mapping[str, str]) -> Architecture:
    """Return the architecture with new names by address; the empty address is the model.

    Raises ValueError for a layer that Keras names itself.
    """
    config = copy.deepcopy(dict(architecture.config))
    for address, new in names.items():
        layer = architecture.by_address[address]
        if layer.keys is None:
            raise ValueError(f"{address} has no name in the config; Keras creates and names it")
        entry = at(config, layer.keys[:-1])
        entry["config"]["name"] = new
        if "name" in entry:
            entry["name"] = new
    for owner in architecture.root.walk():
        inner = {
            child.name: names[child.address] for child in owner.children if child.address in names
        }
        if inner and owner.keys is not None:
            _rename_references(at(config, owner.keys), inner)
    return Architecture(config, architecture.shares_layers)


def without_slashes(architecture: Architecture) -> tuple[Architecture, Mapping[str, str]]:
    """Return the architecture with `_` for `/` in layer names, which Keras 3 refuses.

    Also returns {address: new name} of the renamed layers.
    """
    taken = {layer.name for layer in architecture.layers}
    names: dict[str, str] = {}
    for layer in architecture.layers:
        if "/" in layer.name and layer.keys is not None:
            name = layer.name.replace("/", "_")
            while name in taken:
                name += "_"
            taken.add(name)
            names[layer.address] = name
    return (with_names(architecture, names) if names else architecture), names


def parent_of(architecture: Architecture, address: str) -> str:
    """Return the address of the parent of a layer or weight; a layer's name may contain `/`."""
    layer = architecture.by_address.get(address)
    name = layer.name if layer else address.rpartition("/")[2]
    return address.removesuffix(name).removesuffix("/")


def new_address(architecture: Architecture, names: Mapping[str, str], address: str) -> str:
    """Return an address after the renaming `names`, {old address: new name}."""
    if not address:
        return ""
    parent = parent_of(architecture, address)
    name = names.get(address, address.removeprefix(parent).removeprefix("/"))
    return join(new_address(architecture, names, parent), name)


def _rename_references(config: Any, names: Mapping[str, str]) -> None:
    """Rename references in a functional model's own config, not in nested models."""
    if not isinstance(config, dict):
        return
    for key in _REFERENCES:
        if key in config:
            _replace(config[key], names)
    for layer in config.get("layers") or ():
        if isinstance(layer, dict):
            _replace(layer.get("inbound_nodes"), names)


def is_reference(value: Any) -> bool:
    """Return True for `[layer, node, tensor]`, with or without a fourth item of arguments."""
    return (
        isinstance(value, list)
        and len(value) in (3, 4)
        and isinstance(value[0], str)
        and all(type(number) is int for number in value[1:3])
    )


def _replace(value: Any, names: Mapping[str, str]) -> None:
    """Rename the layer of every `[name, node, tensor]` in a structure, in place."""
    if isinstance(value, dict):
        for inner in value.values():
            _replace(inner, names)
    elif isinstance(value, list):
        if is_reference(value):
            value[0] = names.get(value[0], value[0])
        for inner in value:
            _replace(inner, names)
