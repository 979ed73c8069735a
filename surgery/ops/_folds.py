"""Finds the kernels that BatchNormalization layers can be folded into."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from surgery.architecture.graph import Graph, Ref
from surgery.architecture.graph.model import CallKey
from surgery.architecture.variables import quantization_mode
from surgery.ops._kernels import channel_axis, family, is_linear, kernels_of
from surgery.ops._neighbours import Neighbours, UnfitError

Direction = Literal["after", "before"]
"""The place of a BatchNormalization: after its kernel, or before it."""

_LAST = (None, "channels_last")
_SAME: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "Activation": {"activation": ("linear",)},
    "AlphaDropout": {},
    "AveragePooling": {"data_format": _LAST, "padding": ("valid",)},
    "Cropping": {"data_format": _LAST},
    "Dropout": {},
    "GaussianDropout": {},
    "GaussianNoise": {},
    "GlobalAveragePooling": {"data_format": _LAST},
    "Identity": {},
    "SpatialDropout": {},
    "UpSampling": {"data_format": _LAST, "interpolation": (None, "nearest", "bilinear")},
}
"""Layers that scales and shifts of channels can pass: what they do before they can do behind.

By class, without its number of dimensions; each with the values that its config must have. Those
that drop values or add noise do nothing at inference.
"""


@dataclass(frozen=True)
class Fold:
    """A BatchNormalization that can go into the kernel of another layer of its graph."""

    norm: str
    layer: str
    direction: Direction


class Folds:
    """Finds folds in one graph; `shared` are layers that other graphs have too."""

    def __init__(self, graph: Graph, shared: frozenset[str] = frozenset()) -> None:
        self.graph = graph
        self.shared = shared
        self.near = Neighbours(graph)

    def find(self, norm: str, directions: Iterable[Direction]) -> Fold:
        """Return how a BatchNormalization can be folded; raises UnfitError with every reason."""
        reasons = []
        for direction in directions:
            try:
                return self._found(norm, direction)
            except UnfitError as error:
                reasons.append(str(error))
        raise UnfitError("; ".join(dict.fromkeys(reasons)))

    def _found(self, norm: str, direction: Direction) -> Fold:
        self._check_norm(norm)
        calls = self.near.calls(norm)
        given = [self.near.given(key) for key in calls]
        if direction == "after":
            ends = [self._kernel_before(ref) for ref in given]
        else:
            ends = [self._kernel_behind(Ref(*key)) for key in calls]
        layers = dict.fromkeys(name for name, _ in ends)
        if len(layers) != 1:
            raise UnfitError(f"its calls belong to {' and '.join(layers)}")
        (layer,) = layers
        if sorted(ends) != sorted(self.near.calls(layer)):
            raise UnfitError(f"{layer} is called elsewhere too")
        self._check_layer(layer, direction)
        self._check_axis(norm, given[0], layer)
        return Fold(norm, layer, direction)

    def _kernel_before(self, tensor: Ref) -> CallKey:
        """Return the call of a kernel that a tensor comes from, read by nothing else on its way."""
        passed = 0
        while not kernels_of(self.graph.layers[tensor.layer]):
            self._check_passed(tensor.key, "before")
            self._only_reader(tensor)
            tensor = self.near.given(tensor.key)
            passed += 1
        self._only_reader(tensor)
        self._check_end(tensor.key, passed)
        return tensor.key

    def _kernel_behind(self, tensor: Ref) -> CallKey:
        """Return the call of a kernel that a tensor goes into, and into nothing else."""
        key = self._only_reader(tensor)
        passed = 0
        while not kernels_of(self.graph.layers[key[0]]):
            self._check_passed(key, "behind")
            key = self._only_reader(Ref(*key))
            passed += 1
        self._check_end(key, passed)
        return key

    def _only_reader(self, tensor: Ref) -> CallKey:
        if tensor in self.near.outputs:
            raise UnfitError("an output of the model would change")
        readers = self.near.readers(tensor)
        if len(readers) > 1:
            raise UnfitError("another layer reads the same")
        return readers[0]

    def _check_passed(self, key: CallKey, side: str) -> None:
        """Raise UnfitError for a layer between that scales or shifts cannot pass."""
        entry = self.graph.layers[key[0]]
        wanted = _SAME.get(family(entry))
        if wanted is None or any(entry["config"].get(k) not in v for k, v in wanted.items()):
            raise UnfitError(f"a layer of class {self.near.class_of(key[0])} stands {side} it")
        self.near.given(key)

    def _check_end(self, key: CallKey, passed: int) -> None:
        """Raise UnfitError for a kernel with other arguments, or other channels than between."""
        self.near.given(key)
        if passed and self.near.config(key[0]).get("data_format") == "channels_first":
            raise UnfitError(f"a layer stands between it and {key[0]}, whose channels come first")

    def _check_norm(self, norm: str) -> None:
        config = self.near.config(norm)
        for key in ("renorm", "virtual_batch_size", "adjustment"):
            if config.get(key):
                raise UnfitError(f"it has {key}")
        if norm in self.shared:
            raise UnfitError("another model shares it")
        if not self.near.calls(norm):
            raise UnfitError("it is not called")

    def _check_layer(self, layer: str, direction: Direction) -> None:
        entry = self.graph.layers[layer]
        config = entry["config"]
        if layer in self.shared:
            raise UnfitError(f"another model shares {layer}")
        if quantization_mode(config):
            raise UnfitError(f"{layer} is quantised")
        if direction == "after":
            if not is_linear(entry):
                raise UnfitError(f"the layer before it has the activation {config['activation']}")
            return
        if family(entry) == "ConvTranspose":
            raise UnfitError(f"a layer of class {self.near.class_of(layer)} stands behind it")
        is_padded = config.get("padding", "valid") != "valid"
        if is_padded and math.prod(config["kernel_size"]) > 1:
            raise UnfitError("the layer behind it pads with zeros")

    def _check_axis(self, norm: str, given: Ref, layer: str) -> None:
        """Raise UnfitError where a BatchNormalization's axis is not that of the channels."""
        axis = self.near.config(norm).get("axis", -1)
        axis = axis[0] if isinstance(axis, list) else axis
        entry = self.graph.layers[layer]
        shape = self.graph.shapes.get(given)
        sizes = entry["config"].get("kernel_size")
        rank = len(shape) if shape else len(sizes) + 2 if sizes else None
        is_last = axis == -1 if rank is None else axis % rank == channel_axis(entry, rank)
        if not (isinstance(axis, int) and is_last):
            raise UnfitError(f"its axis {axis} is not that of the channels of {layer}")
