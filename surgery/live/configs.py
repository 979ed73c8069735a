"""The variables of a model's config without weights, found without memory for them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Any

from surgery.live.applications import Resolved, variable_facts
from surgery.live.symbolic import symbolic_model
from surgery.storage.cache import Cached, by_config

_FORMAT = 1


def cached(config: Mapping[str, Any]) -> Cached:
    """Return the cache entry of the config's variables."""
    return by_config("configs", _FORMAT, config)


def resolved(config: Mapping[str, Any]) -> Resolved:
    """Return the config with its variables in Keras's order, from the cache or from Keras."""
    kept = cached(config)
    found = kept.read()
    if found is None:
        with symbolic_model(config) as model:
            found = {
                "config": config,
                "keras_version": metadata.version("keras"),
                "variables": [variable_facts(variable) for variable in model.weights],
                "download": None,
            }
        kept.write(found)
    return Resolved(**found)
