"""A model's weights and layers as plain data, for `inspect --json` and `index.json`."""

from __future__ import annotations

from typing import Any

from surgery.weights.model import Model
from surgery.weights.tensor import dtype_name
from surgery.weights.weight import Weight


def weight_facts(weight: Weight) -> dict[str, Any]:
    """Return a weight's facts for JSON; `stored` are its names inside the file."""
    return {
        "address": weight.address,
        "layer": weight.layer,
        "variable": weight.variable,
        "shape": list(weight.tensor.shape),
        "dtype": dtype_name(weight.tensor.dtype),
        "trainable": weight.trainable,
        "parameters": weight.tensor.size,
        "bytes": weight.tensor.nbytes,
        "stored": list(weight.stored),
    }


def layer_facts(model: Model) -> list[dict[str, Any]]:
    """Return the layers in layer order; without an architecture, those that addresses name."""
    architecture = model.architecture
    if architecture is None or not architecture.is_graph:
        return [{"name": name, "type": None, "trainable": None} for name in model.layer_order]
    return [
        {"name": layer.address, "type": layer.class_name, "trainable": layer.trainable}
        for layer in architecture.layers
    ]
