"""Conversion of a Keras 3 model for TensorFlow 2.12 to 2.15 and tf_keras, to an `.h5` file."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from surgery.architecture import Architecture
from surgery.architecture.entries import at
from surgery.architecture.gates import TO_KERAS_2, scaled_gates
from surgery.formats import _configs, _shared
from surgery.formats._store import StoreFacts
from surgery.formats.upgrading import with_scaled_gates
from surgery.weights import lora
from surgery.weights.model import Carried, Model

if TYPE_CHECKING:
    from surgery.architecture.downgrades import Downgrade

_VERSION = "2.15.0"


def for_keras2(model: Model) -> tuple[Model, Downgrade]:
    """Return the model converted to Keras 2, with the problems found and the parts left out.

    Models that Keras 1 or 2 wrote are unchanged; such a `.keras` file is a problem, as it may have
    been upgraded.
    """
    return model.once(_for_keras2)


def _for_keras2(model: Model) -> tuple[Model, Downgrade]:
    from surgery.architecture.downgrades import Downgrade, downgraded

    version = model.carried.keras_version
    if model.architecture is None:
        return model, Downgrade()
    if not model.carried.is_keras3:
        old = f"it is a .keras file of Keras {version}; give the .h5 it was made from"
        return model, Downgrade([old] if isinstance(model.format_facts, StoreFacts) else [])
    plain = _shared.unshared(lora.merged(model))
    assert plain.architecture is not None
    config, found = downgraded(_with_vocabularies(plain.architecture, model.carried.assets))
    found.problems += lora.problems(model)
    found.notes += [*lora.notes(model), *_shared.notes(model)]
    if found.problems:
        return model, found
    if model.optimizer:
        found.notes.append("the optimizer's state is left out: Keras 2 stores it differently")
    carried = Carried(
        keras_version=_VERSION,
        backend="tensorflow",
        training_config=_training_config(model.carried, found),
    )
    scaled = with_scaled_gates(plain, scaled_gates(plain.architecture, TO_KERAS_2))
    bare = replace(scaled.without_optimizer().to_be_laid_out(), carried=carried)
    return bare.with_architecture(Architecture(config, shares_layers=False)), found


def _with_vocabularies(
    architecture: Architecture, assets: Mapping[str, bytes]
) -> Mapping[str, Any]:
    """Return the config with the vocabularies that `.keras` stores in separate files."""
    config = copy.deepcopy(dict(architecture.config))
    for layer in architecture.layers:
        file = assets.get(f"assets/{layer.group}/vocabulary.txt")
        if file is not None and layer.keys is not None:
            words = file.decode().rstrip("\n").splitlines()
            is_int = layer.class_name == "IntegerLookup"
            at(config, layer.keys)["vocabulary"] = [int(w) for w in words] if is_int else words
    return config


_COMPILED = {"loss": "losses", "metrics": "metrics", "weighted_metrics": "metrics"}


def _training_config(carried: Carried, found: Downgrade) -> Mapping[str, Any] | None:
    """Return the compile config in Keras 2's form, or None, with a note."""
    from surgery.architecture.downgrades import compiled

    config = _configs.compile_config(carried)
    if not config:
        return None
    if not isinstance(config.get("optimizer"), Mapping):
        found.notes.append("the compile config is left out: it names no optimizer")
        return None
    parts = {key: compiled(kind, config.get(key)) for key, kind in _COMPILED.items()}
    parts["optimizer_config"] = compiled("optimizers", config["optimizer"])
    problems = [problem for _, part in parts.values() for problem in part.problems]
    if problems:
        found.notes.append(f"the compile config is left out: {problems[0]}")
        return None
    new = {key: value for key, (value, _) in parts.items()}
    return {**new, "loss_weights": config.get("loss_weights")}
