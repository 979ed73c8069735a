"""Freezing and unfreezing of layers, in the config only."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

from surgery.architecture.entries import at
from surgery.architecture.layer import Layer
from surgery.architecture.tree import Architecture


def with_frozen(architecture: Architecture, layers: Iterable[str]) -> Architecture:
    """Return the architecture with the layers at those addresses frozen.

    A wrapper or nested model whose layers are then all frozen is frozen too, as setting
    `trainable = False` on it would do.
    """
    flags = dict.fromkeys(layers, False)
    for layer in _inside_out(architecture.root):
        inner = [child for child in layer.children if _has_weights(child)]
        frozen = [not flags.get(child.address, child.trainable) for child in inner]
        touched = any(child.address in flags for child in inner)
        if layer.address and layer.keys and touched and all(frozen):
            flags[layer.address] = False
    return _with_flags(architecture, flags)


def with_unfrozen(architecture: Architecture, layers: Iterable[str]) -> Architecture:
    """Return the architecture with those layers unfrozen, and all layers that contain them.

    Unfreezing a frozen model leaves its other layers frozen.
    """
    flags: dict[str, bool] = {}
    if not architecture.root.trainable:
        flags = {layer.address: False for layer in architecture.layers if layer.keys}
    for address in layers:
        parts = address.split("/") if address else []
        owners = {"/".join(parts[:depth]) for depth in range(len(parts) + 1)}
        flags.update(dict.fromkeys(owners & set(architecture.by_address), True))
    return _with_flags(architecture, flags)


def _inside_out(layer: Layer) -> Iterable[Layer]:
    for child in layer.children:
        yield from _inside_out(child)
    yield layer


def _has_weights(layer: Layer) -> bool:
    return next(layer.weights(), None) is not None or layer.variables is None


def _with_flags(architecture: Architecture, flags: Mapping[str, bool]) -> Architecture:
    config = copy.deepcopy(dict(architecture.config))
    for address, flag in flags.items():
        keys = architecture.by_address[address].keys
        if keys is not None and isinstance(own := at(config, keys), dict):
            own["trainable"] = flag
    return Architecture(config, architecture.shares_layers)
