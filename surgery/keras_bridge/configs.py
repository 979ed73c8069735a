"""A model's config without weights: its variables, found without memory for them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from surgery.keras_bridge.applications import Resolved, variable_facts
from surgery.keras_bridge.cache import cache_folder, write_cache
from surgery.keras_bridge.symbolic import symbolic_model

_FORMAT = 1


def cache_file(config: Mapping[str, Any]) -> Path:
    """Named by all that decides what the config's variables are."""
    decisive = [_FORMAT, metadata.version("keras"), metadata.version("tensorflow"), config]
    text = json.dumps(decisive, sort_keys=True)
    digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    return cache_folder() / "configs" / f"{digest}.json"


def resolved(config: Mapping[str, Any]) -> Resolved:
    """The config and its variables in Keras's order: from the cache, else from Keras."""
    path = cache_file(config)
    try:
        return Resolved(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        with symbolic_model(config) as model:
            found: dict[str, Any] = {
                "config": config,
                "keras_version": metadata.version("keras"),
                "variables": [variable_facts(variable) for variable in model.weights],
                "download": None,
            }
        write_cache(path, json.dumps(found))
        return Resolved(**found)
