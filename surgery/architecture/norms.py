"""The normalisations that stand right behind a layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from surgery.architecture.renaming import is_reference, parent_of
from surgery.architecture.tree import Architecture, Layer, at

_BY_CHANNEL = ("BatchNormalization", "SyncBatchNormalization")


def norms_behind(architecture: Architecture, address: str) -> list[Layer]:
    """The batch normalisations that take the output of a layer, and nothing else."""
    parent = architecture.by_address[parent_of(architecture, address)]
    if parent.class_name == "Sequential":
        behind = [
            after
            for before, after in zip(parent.children, parent.children[1:], strict=False)
            if before.address == address
        ]
    else:
        name = architecture.by_address[address].name
        behind = [layer for layer in parent.children if _inputs(architecture, layer) == [name]]
    return [layer for layer in behind if layer.class_name in _BY_CHANNEL]


def _inputs(architecture: Architecture, layer: Layer) -> list[str]:
    """The names of the layers whose outputs a layer is called on, in all its calls."""
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
