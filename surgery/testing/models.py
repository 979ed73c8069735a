"""Small models, made without Keras."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from surgery.architecture import Architecture
from surgery.weights.model import Carried, Model
from surgery.weights.tensor import Array, constant
from surgery.weights.weight import Weight


def dense_layers(layers: Sequence[str], sizes: Sequence[int]) -> Model:
    """Return a Sequential model of Dense layers of these names and widths, with seeded weights.

    `sizes` has the input size first.
    """
    rng = np.random.default_rng(0)
    entries: list[dict[str, Any]] = [
        {"module": "keras.layers", "class_name": "InputLayer", "registered_name": None,
         "config": {"batch_shape": [None, sizes[0]], "dtype": "float32", "name": "in"}}
    ]  # fmt: skip
    weights = []
    for index, layer in enumerate(layers):
        config: dict[str, Any] = {
            "name": layer,
            "trainable": True,
            "units": sizes[index + 1],
            "use_bias": True,
        }
        entries.append(
            {"module": "keras.layers", "class_name": "Dense", "registered_name": None,
             "config": {**config, "activation": "linear"}}
        )  # fmt: skip
        kernel = rng.standard_normal(sizes[index : index + 2]).astype(np.float32)
        bias = rng.standard_normal(sizes[index + 1]).astype(np.float32)
        weights.append(Weight(f"{layer}/kernel", constant(kernel), (), True, True))
        weights.append(Weight(f"{layer}/bias", constant(bias), (), True, True))
    config = {
        "module": "keras",
        "class_name": "Sequential",
        "registered_name": None,
        "config": {"name": "small", "trainable": True, "layers": entries},
    }
    carried = Carried(keras_version="3.10.0", backend="tensorflow")
    return Model(tuple(weights), Architecture(config), carried)


def with_slots(array: Array) -> Model:
    """Return a model with `a/kernel`, which has the array's values and slots, and `b/kernel`."""
    turned = array[..., ::-1].copy() if array.ndim else array
    slots = tuple((name, constant(turned)) for name in ("momentum", "velocity"))
    weight = Weight("a/kernel", constant(array), ("k",), True, True, slots=slots)
    other = Weight("b/kernel", constant(np.ones((2, 2), np.float32)), ("o",), True, False)
    return Model((weight, other))


def values(model: Model) -> dict[str, Array]:
    """Return all weights as arrays, by address."""
    return {weight.address: weight.tensor.numpy() for weight in model.weights}


def same_bytes(a: Model, b: Model) -> bool:
    """Return whether two models have the same weights, bit for bit."""
    left, right = values(a), values(b)
    return left.keys() == right.keys() and all(
        left[k].dtype == right[k].dtype
        and left[k].shape == right[k].shape
        and left[k].tobytes() == right[k].tobytes()
        for k in left
    )
