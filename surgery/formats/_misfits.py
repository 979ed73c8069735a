"""Layers that a file cannot represent as they are."""

from __future__ import annotations

from surgery.formats._configs import LOOKUPS
from surgery.formats._tensorflow.saved_model import SavedModelContainer
from surgery.weights.model import Model


def misfits(model: Model) -> list[str]:
    """Return a message about the first layer that a file would not restore, or nothing."""
    return [*_removed(model), *_reshaped(model), *_without_vocabulary(model)][:1]


def _removed(model: Model) -> list[str]:
    needed = model.architecture.weight_order if model.architecture is not None else ()
    return [
        f"{address} is a variable of its config, and {step} took it away; write npy or another "
        "format of weights only"
        for address, (_, step) in model.removed.items()
        if address in needed
    ]


def _reshaped(model: Model) -> list[str]:
    known = model.architecture.weight_order if model.architecture is not None else ()
    return [
        (
            f"{weight.address} is {list(weight.tensor.shape)}, unlike in its layer's config"
            if weight.address in known
            else f"{weight.address} is no variable of its config"
        )
        + "; write npy or another format of weights only"
        for weight in model.weights
        if weight.reshaped
    ]


def _without_vocabulary(model: Model) -> list[str]:
    """Return messages about lookup layers whose vocabulary a SavedModel does not contain."""
    if model.architecture is None or not isinstance(model.format_facts, SavedModelContainer):
        return []
    return [
        f"the vocabulary of {layer.address} is not found in {model.origin}; load it in Keras 2, "
        "and save it as .keras"
        for layer in model.architecture.layers
        if layer.class_name in LOOKUPS and layer.config.get("vocabulary") is None
    ]
