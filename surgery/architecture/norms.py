"""Batch normalisations that directly follow a layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from surgery.architecture.entries import at, join
from surgery.architecture.layer import Layer
from surgery.architecture.renaming import is_reference
from surgery.architecture.tree import Architecture

_BY_CHANNEL = ("BatchNormalization", "SyncBatchNormalization")


def norms_behind(architecture: Architecture) -> Mapping[str, list[Layer]]:
    """Return by layer address the batch normalisations whose only input is that layer."""
    found: dict[str, list[Layer]] = {}
    for parent in architecture.root.walk():
        for address, layer in _behind(architecture, parent):
            if layer.class_name in _BY_CHANNEL:
                found.setdefault(address, []).append(layer)
    return found


def _behind(architecture: Architecture, parent: Layer) -> Iterator[tuple[str, Layer]]:
    """Yield (address of a layer, layer that is called on it alone) in a model."""
    if parent.class_name == "Sequential":
        for before, after in zip(parent.children, parent.children[1:], strict=False):
            yield before.address, after
        return
    for layer in parent.children:
        inputs = _inputs(architecture, layer)
        if len(inputs) == 1:
            yield join(parent.address, inputs[0]), layer


def _inputs(architecture: Architecture, layer: Layer) -> list[str]:
    """Return the names of the layers that a layer is called on, over all its calls."""
    entry = at(architecture.config, layer.keys[:-1]) if layer.keys else {}
    return list(_references(entry.get("inbound_nodes")))


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        if is_reference(value):
            yield value[0]
        for inner in value:
            yield from _references(inner)
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _references(inner)
