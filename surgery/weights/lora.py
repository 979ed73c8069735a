"""LoRA: kernels with two small matrices whose product is added.

`.h5` stores all three. Keras 3's other files store the merged kernel only, and so does surgery.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator
from dataclasses import replace

import numpy as np

from surgery.architecture import Architecture, Layer
from surgery.architecture.entries import at, join
from surgery.weights.arithmetic import is_float
from surgery.weights.model import Model
from surgery.weights.tensor import Array, Mapped, Reduction, Tensor
from surgery.weights.weight import Weight


def lora_layers(model: Model) -> Iterator[tuple[Layer, str]]:
    """Yield (layer with LoRA enabled, name of the variable to which it is added)."""
    for layer in model.architecture.root.walk() if model.architecture else ():
        variable = "embeddings" if layer.class_name == "Embedding" else "kernel"
        if layer.config.get("lora_rank") and join(layer.address, variable) in model.by_address:
            yield layer, variable


def without_adapters(model: Model) -> Model:
    """Return the model as Keras 3's files store it: with LoRA matrices merged, if present."""
    for layer, name in lora_layers(model):
        if join(layer.address, f"lora_{name}_a") in model.by_address:
            return merged(model)
    return model


def notes(model: Model) -> list[str]:
    """Return the notes on merged LoRA layers."""
    return [
        f"{layer.address}: LoRA is merged into the {name}, and no longer enabled"
        for layer, name in lora_layers(model)
    ]


def problems(model: Model) -> list[str]:
    """Return a message about the first layer whose LoRA cannot be merged, or nothing."""
    if without_adapters(model) is model:
        return []
    return [
        f"{layer.address} has LoRA on a quantised {name}, which would be requantised; merge it "
        "with Keras, or keep .h5"
        for layer, name in lora_layers(model)
        if not is_float(model[join(layer.address, name)].tensor.dtype)
    ][:1]


def merged(model: Model, only: Collection[str] | None = None) -> Model:
    """Return the model with every LoRA merged into its kernel, and disabled in the config."""
    if model.architecture is None or not any(lora_layers(model)):
        return model
    config = copy.deepcopy(dict(model.architecture.config))
    weights = dict(model.by_address)
    for layer, name in lora_layers(model):
        if only is not None and layer.address not in only:
            continue
        kernel = weights[join(layer.address, name)]
        a, b = (weights.pop(join(layer.address, f"lora_{name}_{x}"), None) for x in "ab")
        weights[kernel.address] = _merged(kernel, a, b, layer)
        assert layer.keys is not None
        own = at(config, layer.keys)
        own.pop("lora_rank")
        own.pop("lora_alpha", None)
    architecture = Architecture(config, model.architecture.shares_layers)
    left = tuple(weights[w.address] for w in model.weights if w.address in weights)
    return replace(model, weights=left).with_architecture(architecture)


def _merged(kernel: Weight, a: Weight | None, b: Weight | None, layer: Layer) -> Weight:
    """Return the kernel as a trainable one, with the product added if a and b are given."""
    if a is None or b is None:
        return replace(kernel, variable_trains=True)
    rank = layer.config["lora_rank"]
    scale = (layer.config.get("lora_alpha") or rank) / rank
    tensor = _plus_product(kernel.tensor, a.tensor, b.tensor, scale)
    return replace(kernel, tensor=tensor, variable_trains=True)


def _plus_product(kernel: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    width = kernel.shape[-1]
    factors = Reduction(lambda _: (a.numpy().reshape(-1, a.shape[-1]), b.numpy()), 0)

    def add(values: Array, start: int) -> Array:
        left, right = factors.result()
        first, last = start // width, -(-(start + values.size) // width)
        rows = (left[first:last] @ right).reshape(-1) * np.float32(scale)
        offset = start - first * width
        return values + rows[offset : offset + values.size]

    return Mapped(kernel, add, factors)
