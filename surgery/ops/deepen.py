"""`deepen`: a new layer that does nothing at first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from surgery.architecture.entries import class_of, join
from surgery.architecture.graph import Graph, Ref
from surgery.architecture.graph.editing import inserted
from surgery.architecture.graph.model import Entry
from surgery.architecture.graph.nodes import graph_of
from surgery.architecture.variables import quantization_mode
from surgery.declared.fields import key
from surgery.errors import SelectorError
from surgery.ops._kernels import built_on_shape, family, without_arrays
from surgery.ops.base import op
from surgery.ops.structure import VerifiedOp, find_layer, with_graph
from surgery.weights.model import Model
from surgery.weights.tensor import Array, FunctionTensor, Tensor
from surgery.weights.weight import Weight

_WINDOW = 3
"""The size of a new convolution's kernel along each axis."""

_IDEMPOTENT = ("linear", "relu", "relu6")
"""Activations that leave what they return as it is."""


@op
@dataclass(frozen=True, kw_only=True)
class Deepen(VerifiedOp):
    """Put a layer of the same class behind a layer, which returns what it is given at first.

    Its kernel is the identity and its bias is zero, a convolution's kernel is 3 wide along each
    axis (Net2DeeperNet, Chen et al. 2016). Its activation is that of the layer before it where that
    is linear, relu or relu6, else linear. Training changes it like any other.
    """

    after: str = key("The address of a Dense, Conv1D, Conv2D or Conv3D.", "block_5_project")
    name_: str = key("The new layer's name.", "block_5_more", minLength=1)

    @property
    def title(self) -> str:
        return f"{self.name} after {self.after}"

    def apply(self, model: Model) -> Model:
        architecture = self.architecture(model)
        parent, name = find_layer(architecture, self.after)
        graph = graph_of(architecture, parent)
        old = graph.layers[name]
        dtype = _dtype(model, self.after, old)
        calls = graph.calls_of(name)
        shapes = [graph.shapes.get(Ref(name, number)) for number in calls]
        entry = built_on_shape(_entry(old), shapes[0] if shapes else None)

        def change(graph: Graph) -> Graph:
            grown = inserted(graph, self.name_, entry, [Ref(name, number) for number in calls])
            known = {Ref(self.name_, n): shape for n, shape in enumerate(shapes) if shape}
            return replace(grown, shapes={**grown.shapes, **known})

        address = join(parent, self.name_)
        weights = (
            Weight(join(address, "kernel"), _identity(entry, dtype)),
            Weight(join(address, "bias"), _zeros(_units(entry), dtype)),
        )
        outputs = {} if parent else {name: self.name_}
        made = with_graph(model, parent, change, new=lambda _: weights, outputs=outputs)
        return made.with_note(f"{address} is a new {class_of(entry)} that changes nothing yet")


def _dtype(model: Model, address: str, entry: Entry) -> np.dtype[Any]:
    """Return the dtype of a layer's kernel; raises SelectorError for a layer without a like one."""
    reason = None
    weight = model.by_address.get(join(address, "kernel"))
    if family(entry) not in ("Conv", "Dense"):
        reason = "deepen goes behind a Dense, Conv1D, Conv2D or Conv3D"
    elif quantization_mode(entry["config"]):
        reason = "it is quantised"
    elif weight is None:
        reason = "its kernel is not in the file"
    if reason is not None or weight is None:
        raise SelectorError(f"{address} ({class_of(entry)}): {reason}")
    return weight.tensor.dtype


def _entry(entry: Entry) -> Entry:
    """Return the entry of a layer of the same class that keeps what a layer returns."""
    config = {**without_arrays(entry["config"]), "use_bias": True, "trainable": True}
    if config.get("activation") not in _IDEMPOTENT:
        config["activation"] = "linear"
    config |= {"activity_regularizer": None, "kernel_constraint": None, "bias_constraint": None}
    config = {key: value for key, value in config.items() if not key.startswith("lora_")}
    if family(entry) == "Conv":
        ones = [1] * len(config["kernel_size"])
        config |= {
            "kernel_size": [_WINDOW] * len(ones),
            "strides": ones,
            "dilation_rate": ones,
            "padding": "same",
            "groups": 1,
        }
    return {**entry, "config": config}


def _units(entry: Entry) -> int:
    config: Mapping[str, Any] = entry["config"]
    return int(config.get("units") or config["filters"])


def _identity(entry: Entry, dtype: np.dtype[Any]) -> Tensor:
    """Return a kernel whose middle leads each channel to itself, and nothing to another."""
    units = _units(entry)
    window = entry["config"].get("kernel_size") or []
    first = math.prod(window) // 2 * units * units  # where the middle begins

    def read(start: int, stop: int) -> Array:
        place = np.arange(start - first, stop - first)
        is_in = (place >= 0) & (place < units * units)
        result: Array = (is_in & (place % (units + 1) == 0)).astype(dtype)
        return result

    return FunctionTensor((*window, units, units), dtype, read)


def _zeros(size: int, dtype: np.dtype[Any]) -> Tensor:
    return FunctionTensor((size,), dtype, lambda start, stop: np.zeros(stop - start, dtype))
