"""Finds the layers that a layer's output channels go through, up to those that read them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from surgery.architecture.graph import Graph, Ref
from surgery.architecture.graph.model import CallKey, Entry
from surgery.architecture.variables import quantization_mode
from surgery.ops._kernels import channel_axis, family
from surgery.ops._neighbours import Neighbours, UnfitError
from surgery.structure.activations import ELEMENTWISE

_BY_CHANNEL = frozenset(
    """
    Activation AlphaDropout AveragePooling BatchNormalization Cropping Dropout ELU GaussianDropout
    GaussianNoise GlobalAveragePooling GlobalMaxPooling Identity LeakyReLU MaxPooling PReLU ReLU
    SpatialDropout ThresholdedReLU UpSampling ZeroPadding
    """.split()  # noqa: SIM905 - as a list it is a page
)
"""Layers that make each output channel of the input channel in its place, and all in one way."""

_READERS = ("Conv", "ConvTranspose", "Dense", "SeparableConv")

_LAST = "channels_last"

_WITH_WEIGHTS = ("BatchNormalization", "PReLU", *_READERS)


@dataclass
class Width:
    """A layer's output channels.

    Attributes:
        size: how many there are.
        passed: the layers that they go through.
        readers: the layers that read them.
        tensors: those that hold them.

    Each with how often all channels stand there, one after another: more than once behind a
    Flatten.
    """

    size: int
    passed: dict[str, int] = field(default_factory=dict)
    readers: dict[str, int] = field(default_factory=dict)
    tensors: dict[Ref, int] = field(default_factory=dict)


class Widths:
    """Follows the channels of one graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.near = Neighbours(graph)

    def of(self, layer: str) -> Width:
        """Return where the channels that a layer makes go; raises UnfitError for what hinders."""
        entry = self.graph.layers[layer]
        self._check_maker(entry)
        width = Width(int(entry["config"].get("units") or entry["config"]["filters"]))
        calls: set[CallKey] = set()
        todo = [(Ref(*key), 1) for key in self.near.calls(layer)]
        while todo:
            tensor, times = todo.pop()
            width.tensors[tensor] = times
            if tensor in self.near.outputs:
                raise UnfitError(f"{tensor} is an output of the model")
            for key in self.near.readers(tensor):
                calls.add(key)
                self.near.given(key)
                if family(self.graph.layers[key[0]]) in _READERS:
                    self._check_reader(key[0], entry, tensor)
                    width.readers[key[0]] = times
                else:
                    width.passed[key[0]] = self._passed(key[0], entry, tensor, width)
                    todo.append((Ref(*key), width.passed[key[0]]))
        if layer in width.readers:
            raise UnfitError("it reads its own output")
        for name in (*width.passed, *width.readers):
            if family(self.graph.layers[name]) in _WITH_WEIGHTS:
                self._check_calls(name, calls)
        return width

    def _check_maker(self, entry: Entry) -> None:
        config = entry["config"]
        if family(entry) not in ("Conv", "Dense"):
            raise UnfitError("widen takes Dense, Conv1D, Conv2D and Conv3D")
        if int(config.get("groups") or 1) > 1:
            raise UnfitError("it has groups")
        if quantization_mode(config):
            raise UnfitError("it is quantised")
        if not _is_elementwise(config):
            raise UnfitError(f"its activation {config['activation']} looks at all channels")

    def _passed(self, name: str, maker: Entry, tensor: Ref, width: Width) -> int:
        """Return how often the channels stand behind a layer, one after another.

        Raises UnfitError for a layer of which it is not known what it does with channels.
        """
        entry = self.graph.layers[name]
        kind, config = family(entry), entry["config"]
        shape = self.graph.shapes.get(tensor)
        if kind == "Flatten":
            if not shape or None in shape[1:]:
                raise UnfitError(f"the shape that {self._named(name)} is given is not known")
            if len(shape) > 2 and config.get("data_format", _LAST) != _format(maker):
                raise UnfitError(f"{self._named(name)} does not take them for the channels")
            return math.prod(size or 1 for size in shape[1:]) // width.size
        if kind not in _BY_CHANNEL or (kind == "Activation" and not _is_elementwise(config)):
            raise UnfitError(f"{self._named(name)} is in the way")
        self._check_axis(name, maker, shape)
        return width.tensors[tensor]

    def _check_reader(self, name: str, maker: Entry, tensor: Ref) -> None:
        config = self.near.config(name)
        if int(config.get("groups") or 1) > 1:
            raise UnfitError(f"{self._named(name)} has groups")
        if quantization_mode(config):
            raise UnfitError(f"{self._named(name)} is quantised")
        rank = len(self.graph.shapes.get(tensor) or ())
        if rank != 2 and config.get("data_format", _LAST) != _format(maker):
            raise UnfitError(f"{self._named(name)} does not take them for the channels")

    def _check_axis(self, name: str, maker: Entry, shape: tuple[int | None, ...] | None) -> None:
        """Raise UnfitError for a layer that takes another axis for the channels."""
        config = self.near.config(name)
        axis = config.get("axis")
        axis = axis[0] if isinstance(axis, list) else axis
        if not isinstance(axis, int):
            fits = config.get("data_format") in (None, _format(maker))
        elif not shape:
            fits = axis == -1 and _format(maker) == _LAST
        else:
            fits = axis % len(shape) == channel_axis(maker, len(shape))
        if not fits:
            raise UnfitError(f"{self._named(name)} does not take them for the channels")

    def _check_calls(self, name: str, calls: set[CallKey]) -> None:
        if not calls.issuperset(self.near.calls(name)):
            raise UnfitError(f"{self._named(name)} is called on other channels too")

    def _named(self, name: str) -> str:
        return f"{name} ({self.near.class_of(name)})"


def _is_elementwise(config: Mapping[str, Any]) -> bool:
    return (config.get("activation") or "linear") in ELEMENTWISE


def _format(entry: Entry) -> str:
    return str(entry["config"].get("data_format") or "channels_last")
