"""`widen`: more output channels, which are copies of those there are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from surgery.architecture.axes import axes_of
from surgery.architecture.entries import class_of, join
from surgery.architecture.graph import Graph
from surgery.architecture.graph.model import Entry
from surgery.architecture.graph.nodes import Node, graph_of
from surgery.declared.fields import key
from surgery.declared.verification import Verification
from surgery.errors import SelectorError
from surgery.ops._kernels import (
    built_on_shape,
    channel_axis,
    family,
    has_lora,
    kernels_of,
    norm_variables,
    without_arrays,
)
from surgery.ops._neighbours import UnfitError
from surgery.ops._widths import Width, Widths
from surgery.ops.base import op
from surgery.ops.structure import VerifiedOp, with_graph
from surgery.weights import statistics
from surgery.weights.channels import Channels
from surgery.weights.gathering import gathered
from surgery.weights.layer_selectors import SelectLayers
from surgery.weights.model import Model
from surgery.weights.random import generator
from surgery.weights.tensor import Array, Mapped, Reduction, Tensor
from surgery.weights.weight import Weight


@op
@dataclass(frozen=True, kw_only=True)
class Widen(VerifiedOp):
    """Give layers more output channels, so that the model returns what it returned.

    New channels are copies of ones that are drawn, and what reads a channel several times divides
    what it takes of it (Net2WiderNet, Chen et al. 2016). Between a layer and what reads it may be
    layers that act on each channel by itself.
    """

    select: SelectLayers = key("The layers, each a Dense or a convolution without groups.", "fc1")
    by: float | None = key(
        "How many times as many channels.", 1.5, default=None, in_example=True, minimum=1
    )
    to: int | None = key("Instead of by: how many channels.", 128, default=None, minimum=1)
    noise: float = key(
        "The standard deviation of what is added to the copies' kernels, relative to that of the "
        "whole kernel, so that training tells them apart; with it the outputs differ a little.",
        0.01,
        default=0.0,
        minimum=0,
    )

    def __post_init__(self) -> None:
        if (self.by is None) == (self.to is None):
            raise ValueError("give by or to, one of them")

    @property
    def needs_live(self) -> bool:
        # With noise the outputs differ; only a tolerance that is given says how far they may.
        return super().needs_live and (not self.noise or isinstance(self.verify, Verification))

    @property
    def title(self) -> str:
        size = f"by {self.by:g}" if self.by is not None else f"to {self.to}"
        return f"{self.name} {self.select} {size}"

    def apply(self, model: Model) -> Model:
        self.architecture(model)
        for node in self.select.layers(model):
            model = self._widened(model, node)
        return model

    def _widened(self, model: Model, node: Node) -> Model:
        """Return the model with one layer widened, by channels drawn from the recipe's seed.

        Raises SelectorError if the layer cannot be widened, or has that many channels.
        """
        graph = graph_of(model.need_architecture("widen acts on layers"), node.parent)
        try:
            width = Widths(graph).of(node.name)
        except UnfitError as error:
            raise SelectorError(
                f"{node.address} ({node.class_name}) cannot be widened: {error}"
            ) from None
        self._check_lora(model, node, width)
        size = self.to if self.by is None else round(self.by * width.size)
        if size is None or size < width.size:
            raise SelectorError(
                f"{node.address} has {width.size} channels already, and to is {size}"
            )
        random = generator(self.draws.seed, self.draws.step, node.address)
        copies = random.integers(0, width.size, size - width.size)
        source = np.concatenate([np.arange(width.size), copies])
        made = with_graph(
            model, node.parent, lambda graph: _wider(graph, node.name, width, size),
            new=lambda _: self._weights(model, node, graph, width, source),
        )  # fmt: skip
        return made.with_note(f"{node.address}: {size} channels instead of {width.size}")

    def _check_lora(self, model: Model, node: Node, width: Width) -> None:
        """Raise SelectorError where a kernel that would change is not the whole one."""
        for layer in (node.name, *width.readers):
            if has_lora(model, join(node.parent, layer)):
                raise SelectorError(
                    f"{node.address} cannot be widened: {layer} has LoRA, which lora_merge merges"
                )

    def _weights(
        self, model: Model, node: Node, graph: Graph, width: Width, source: Array
    ) -> Iterator[Weight]:
        """Yield the weights that have other shapes; `source` is the old channel of each new one."""

        def changed(layer: str, name: str, change: Callable[[Tensor], Tensor]) -> Weight:
            address = join(node.parent, layer, name)
            if address not in model.by_address:
                raise SelectorError(f"{address} is not in the file, and widen changes its shape")
            old = model.by_address[address]
            return replace(old, tensor=change(old.tensor), slots=())

        maker = graph.layers[node.name]
        yield changed(node.name, "kernel", lambda old: self._kernel(old, node.address, source))
        if maker["config"].get("use_bias", True):
            yield changed(node.name, "bias", lambda old: gathered(old, 0, source))
        for layer, times in width.passed.items():
            index = _repeated(source, times, width.size)
            entry = graph.layers[layer]
            for name in _own(entry):
                change = partial(_passed, entry=entry, maker=maker, index=index)
                yield changed(layer, name, change)
        for layer, times in width.readers.items():
            index = _repeated(source, times, width.size)
            entry = graph.layers[layer]
            for name in kernels_of(entry):
                yield changed(layer, name, partial(_read, entry=entry, name=name, index=index))

    def _kernel(self, old: Tensor, address: str, source: Array) -> Tensor:
        """Return the kernel with copies of channels, and noise on the copies."""
        new = gathered(old, len(old.shape) - 1, source)
        if not self.noise:
            return new
        std = Reduction(lambda _: statistics.of_tensor(old).std, old.passes)
        drawn = self.draws.tensor(
            new.shape,
            np.dtype(np.float64),
            lambda random, size: random.standard_normal(size),
            address,
        )
        channels, first = Channels(source.size), old.shape[-1]

        def add(values: Array, start: int) -> Array:
            is_copy = channels.of(start, values.size) >= first
            noise = drawn.read(start, start + values.size) * (self.noise * std.result())
            return np.where(is_copy, values.astype(np.float64) + noise, values)

        return Mapped(new, add, std)


def _wider(graph: Graph, layer: str, width: Width, size: int) -> Graph:
    """Return the graph with the number of a layer's channels changed, and shapes with it."""
    maker = graph.layers[layer]
    config = without_arrays(maker["config"])
    config["units" if "units" in config else "filters"] = size
    shapes = dict(graph.shapes)
    for tensor, times in width.tensors.items():
        if old := shapes.get(tensor):
            axis = channel_axis(maker, len(old))
            shapes[tensor] = (*old[:axis], size * times, *old[axis + 1 :])
    layers = {**graph.layers, layer: {**maker, "config": config}}
    for name in (*width.passed, *width.readers):
        given = graph.calls[name, graph.calls_of(name)[0]].refs()[0]
        plain = {**layers[name], "config": without_arrays(layers[name]["config"])}
        layers[name] = built_on_shape(plain, shapes.get(given))
    return replace(graph, layers=layers, shapes=shapes)


def _repeated(source: Array, times: int, size: int) -> Array:
    """Return the old place of each new one where all channels stand so many times in a row."""
    result: Array = (np.arange(times)[:, np.newaxis] * size + source).reshape(-1)
    return result


def _own(entry: Entry) -> Sequence[str]:
    """Return the variables that a layer has for each of the channels that go through it."""
    if family(entry) == "BatchNormalization":
        return norm_variables(entry["config"])
    return ("alpha",) if family(entry) == "PReLU" else ()


def _passed(old: Tensor, entry: Entry, maker: Entry, index: Array) -> Tensor:
    """Return a variable of a layer that channels go through, for other channels."""
    axis = channel_axis(maker, len(old.shape) + 1)  # of the layer's input, whose first is the batch
    if axis in (entry["config"].get("shared_axes") or ()):
        return old
    return gathered(old, axis - 1, index)


def _read(old: Tensor, entry: Entry, name: str, index: Array) -> Tensor:
    """Return a kernel of a layer that reads channels, for other channels that add up to the same.

    Of a separable convolution, it is the second kernel that adds channels up.
    """
    axis = axes_of(class_of(entry), entry["config"], name, len(old.shape)).inputs[0]
    if name == "pointwise_kernel":
        each = int(entry["config"].get("depth_multiplier", 1))
        index = (index[:, np.newaxis] * each + np.arange(each)).reshape(-1)
    new = gathered(old, axis, index)
    copies = np.bincount(index)[index]
    if name == "depthwise_kernel" or copies.max() == 1:
        return new
    channels = Channels(index.size, math.prod(new.shape[axis + 1 :]))

    def divide(values: Array, start: int) -> Array:
        result: Array = values.astype(np.float64) / copies[channels.of(start, values.size)]
        return result

    return Mapped(new, divide)
