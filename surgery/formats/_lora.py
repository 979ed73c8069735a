"""LoRA: kernels with the product of two small matrices beside them.

`.h5` keeps the three apart. Keras 3's own files keep the merged kernel alone, and so do we.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from surgery.architecture import Architecture, Layer
from surgery.architecture.entries import at, join
from surgery.weights.arithmetic import is_float
from surgery.weights.model import Model
from surgery.weights.tensor import Array, Mapped, Reduction, Tensor
from surgery.weights.weight import Weight


def lora_layers(model: Model) -> Iterator[tuple[Layer, str]]:
    """The layers that have LoRA enabled, each with the address of what it is added to."""
    for layer in model.architecture.root.walk() if model.architecture else ():
        variable = "embeddings" if layer.class_name == "Embedding" else "kernel"
        if layer.config.get("lora_rank") and join(layer.address, variable) in model.by_address:
            yield layer, variable


def without_adapters(model: Model) -> Model:
    """The model as Keras 3's own files hold it: where the matrices are there, they are merged."""
    for layer, name in lora_layers(model):
        if join(layer.address, f"lora_{name}_a") in model.by_address:
            return merged(model)
    return model


def notes(model: Model) -> list[str]:
    """What is said where LoRA is merged."""
    return [
        f"{layer.address}: LoRA is merged into the {name}, and not enabled any more"
        for layer, name in lora_layers(model)
    ]


def problems(model: Model) -> list[str]:
    """The first layer whose LoRA cannot be merged, where there is one."""
    if without_adapters(model) is model:
        return []
    return [
        f"{layer.address} has LoRA on a quantised {name}, which would be quantised anew; merge it "
        "with Keras, or keep .h5"
        for layer, name in lora_layers(model)
        if not is_float(model[join(layer.address, name)].tensor.dtype)
    ][:1]


def merged(model: Model) -> Model:
    """The model with every LoRA in its kernel, and none in its config."""
    if model.architecture is None or not any(lora_layers(model)):
        return model
    config = copy.deepcopy(dict(model.architecture.config))
    weights = dict(model.by_address)
    for layer, name in lora_layers(model):
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
    """The kernel as an unfrozen one, with the product added if it was not."""
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
