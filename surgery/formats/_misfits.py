"""Layers that a file would not hold as they are."""

from __future__ import annotations

from surgery.formats._configs import LOOKUPS
from surgery.formats._tensorflow.saved_model import SavedModelContainer
from surgery.weights.model import Model


def misfits(model: Model) -> list[str]:
    """The first layer that would not be what it was, where there is one."""
    return [*_reshaped(model), *_without_vocabulary(model)][:1]


def _reshaped(model: Model) -> list[str]:
    return [
        f"{weight.address} is {list(weight.tensor.shape)}, and its layer asks for another shape; "
        "npy and other formats of weights alone hold it"
        for weight in model.weights
        if weight.reshaped
    ]


def _without_vocabulary(model: Model) -> list[str]:
    """Lookup layers whose vocabulary a SavedModel of Keras 2 does not tell."""
    if model.architecture is None or not isinstance(model.format_facts, SavedModelContainer):
        return []
    return [
        f"the vocabulary of {layer.address} is not found in {model.origin}; load that by Keras 2, "
        "and save it as .keras"
        for layer in model.architecture.layers
        if layer.class_name in LOOKUPS and layer.config.get("vocabulary") is None
    ]
