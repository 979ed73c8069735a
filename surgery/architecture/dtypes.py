"""Dtype policies of layers, changed in the config only."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from surgery.architecture.entries import at
from surgery.architecture.tree import Architecture


def with_dtype(architecture: Architecture, layers: Iterable[str], dtype: str) -> Architecture:
    """Return the architecture with a dtype policy set for the layers at those addresses."""
    config = copy.deepcopy(dict(architecture.config))
    for address in layers:
        layer = architecture.by_address[address]
        if layer.keys is None:
            continue
        own = at(config, layer.keys)
        if isinstance(own, dict):
            own["dtype"] = _policy(own.get("dtype"), dtype)
    return Architecture(config, architecture.shares_layers)


def _policy(old: Any, dtype: str) -> Any:
    """Return a dtype policy in the form of the old one: a name (Keras 1 and 2), or an object."""
    if not isinstance(old, dict):
        return dtype
    return {
        "module": "keras",
        "class_name": "DTypePolicy",
        "config": {"name": dtype},
        "registered_name": None,
    }
