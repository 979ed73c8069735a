"""`resize_input`: another size, or another number of channels, of an input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from surgery.architecture import Architecture
from surgery.architecture.axes import axes_of
from surgery.architecture.graph import Graph, Ref, entry_of, is_graph, parse, refs
from surgery.architecture.shapes import Shape, model_shapes
from surgery.declared.fields import key
from surgery.errors import SelectorError, did_you_mean
from surgery.live.configs import resolved
from surgery.ops.base import op
from surgery.ops.structure import StructureOp
from surgery.weights.initializers import initialized
from surgery.weights.model import Model
from surgery.weights.restructuring import restructured
from surgery.weights.tensor import Array, Tensor, deferred, dtype_named
from surgery.weights.weight import Weight

By = Literal["sum", "mean", "tile", "first"]


@op
@dataclass(frozen=True, kw_only=True)
class ResizeInput(StructureOp):
    """Give an input another size or number of channels, and fit the kernels that read it."""

    input: str | None = key(
        "The input layer's name; needed where there are several.", "image", default=None
    )
    size: tuple[int, ...] | None = key(
        "The new sizes of the axes between the batch's and the channels'.",
        [96, 96],
        default=None,
        in_example=True,
    )
    channels: int | None = key("The new number of channels.", 1, default=None, minimum=1)
    by: By = key(
        "How kernels take other channels: the sum of the old ones (shared out among the new ones), "
        "their mean, the old ones again and again (scaled so that equal channels give what they "
        "gave), or the first ones (and zeros for more).",
        "mean",
        default="sum",
    )
    changed: Literal["error", "reinitialize"] = key(
        "What becomes of other weights whose shapes follow from the input's (a Dense behind a "
        "Flatten).",
        "reinitialize",
        default="error",
    )

    def __post_init__(self) -> None:
        if self.size is None and self.channels is None:
            raise ValueError("give size or channels")
        if self.size is not None and min(self.size, default=0) < 1:
            raise ValueError("size has numbers of at least 1")

    @property
    def title(self) -> str:
        size = "x".join(map(str, self.size or ()))
        channels = f"{self.channels} channels" if self.channels else ""
        return f"{self.name} {' and '.join(filter(None, (size, channels)))}"

    def apply(self, model: Model) -> Model:
        architecture = self.architecture(model)
        graph = parse(architecture.config)
        ref = self._input(graph)
        old = graph.shapes.get(ref)
        if old is None or len(old) < 2:
            raise SelectorError(f"the shape of {ref.layer} is not known from the config")
        new = self._shape(old, _channels_first(graph, ref))
        config = entry_of(_with_inputs(graph, {ref: new}))
        return restructured(model, config, new=list(self._weights(model, config, old, new)))

    def _input(self, graph: Graph) -> Ref:
        inputs = refs(graph.inputs)
        found = [ref for ref in inputs if self.input in (None, ref.layer)]
        if len(found) != 1:
            names = [ref.layer for ref in inputs]
            hint = did_you_mean(self.input, names) if self.input else ""
            raise SelectorError(f"say which input: {', '.join(names)}{hint}")
        return found[0]

    def _shape(self, old: tuple[int | None, ...], channels_first: bool) -> tuple[int | None, ...]:
        inner = list(old[1:])
        place = 0 if channels_first else len(inner) - 1
        space = [axis for axis in range(len(inner)) if axis != place]
        if self.size is not None:
            if len(self.size) != len(space):
                raise SelectorError(
                    f"the input is {list(inner)}, so size has {len(space)} numbers, not "
                    f"{len(self.size)}"
                )
            for axis, number in zip(space, self.size, strict=True):
                inner[axis] = number
        if self.channels is not None:
            inner[place] = self.channels
        return (old[0], *inner)

    def _weights(
        self,
        model: Model,
        config: Mapping[str, Any],
        old: tuple[int | None, ...],
        new: tuple[int | None, ...],
    ) -> Iterator[Weight]:
        """Yield the weights whose shapes are others, as Keras builds the new config."""
        found = resolved(config)
        architecture = Architecture(config)
        variables = list(
            {v.address: (layer, v) for layer, v in architecture.root.weights()}.values()
        )
        if len(variables) != len(found.variables):
            raise SelectorError(
                "Keras gives the model other variables than surgery knows of; a custom layer has "
                "them"
            )
        for (layer, variable), facts in zip(variables, found.variables, strict=True):
            weight, shape = model.by_address.get(variable.address), tuple(facts["shape"])
            if weight is None or weight.tensor.shape == shape:
                continue
            axes = axes_of(layer.class_name, layer.config, variable.name, len(shape)).inputs
            was = weight.tensor.shape
            others = [a for a in range(len(shape)) if len(was) == len(shape) and was[a] != shape[a]]
            is_reader = (
                self.channels is not None
                and len(others) == 1
                and others[0] in axes
                and {was[others[0]], shape[others[0]]} <= {*old[1:], *new[1:]}
                and layer.class_name != "Dense"
            )
            if is_reader:
                change = partial(
                    _other_channels, axis=others[0], count=shape[others[0]], by=self.by
                )
                yield replace(weight, tensor=change(weight.tensor), slots=(), stored=())
                continue
            if self.changed == "error":
                raise SelectorError(
                    f"{variable.address} is {list(was)} and would be {list(shape)}; changed: "
                    "reinitialize draws it anew, and extract or replace_head cuts before it"
                )
            class_name, arguments = facts["initializer"]
            tensor = initialized(
                class_name, arguments, shape, dtype_named(facts["dtype"]), self.draws.seed,
                self.draws.step, variable.address,
            )  # fmt: skip
            yield replace(weight, tensor=tensor, slots=(), stored=())


def _channels_first(graph: Graph, ref: Ref) -> bool:
    """Return whether the first layer that has a data format reads channels first."""
    todo, seen = graph.readers(ref), set()
    while todo:
        key_ = todo.pop(0)
        if key_ in seen:
            continue
        seen.add(key_)
        entry = graph.layers[key_[0]]
        if is_graph(entry):
            inner = parse(entry)
            if any(_channels_first(inner, each) for each in refs(inner.inputs)):
                return True
        config = entry["config"]
        if isinstance(config.get("data_format"), str):
            return str(config["data_format"]) == "channels_first"
        todo += graph.readers(Ref(*key_))
    return False


def _with_inputs(graph: Graph, inputs: Mapping[Ref, Shape | None]) -> Graph:
    """Return a graph whose inputs have other shapes, and so have those of the models inside it."""
    layers = {name: _without_shapes(entry) for name, entry in graph.layers.items()}
    for ref, shape in inputs.items():
        layers[ref.layer] = _with_shape(layers[ref.layer], shape)
    graph = replace(graph, layers=layers, shapes={})
    shapes = model_shapes(graph).shapes
    for (name, number), call in graph.calls.items():
        if number == 0 and is_graph(layers[name]):
            inner = parse(layers[name])
            given = dict(zip(refs(inner.inputs), map(shapes.get, refs(call.args)), strict=True))
            layers[name] = {**entry_of(_with_inputs(inner, given)), "name": name}
    known = {ref: shape for ref, shape in shapes.items() if shape is not None}
    return replace(graph, layers=layers, shapes=known)


def _without_shapes(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a layer's entry without the input shapes that it, or a layer in it, was built for."""
    made = {k: v for k, v in entry.items() if k not in ("build_config", "build_input_shape")}
    for name, value in (made.get("config") or {}).items():
        if isinstance(value, Mapping) and "class_name" in value and "config" in value:
            made["config"] = {**made["config"], name: _without_shapes(value)}
    return made


def _with_shape(entry: Mapping[str, Any], shape: Shape | None) -> dict[str, Any]:
    if shape is None:
        return dict(entry)
    config = {k: v for k, v in entry["config"].items() if k != "batch_input_shape"}
    return {**entry, "config": {**config, "batch_shape": list(shape)}}


def _other_channels(tensor: Tensor, axis: int, count: int, by: By) -> Tensor:
    """Return a kernel for another number of input channels."""
    shape = (*tensor.shape[:axis], count, *tensor.shape[axis + 1 :])

    def make() -> Array:
        old = tensor.numpy()
        wide = old.astype(np.float64)
        had = old.shape[axis]
        if by == "first":
            kept = np.take(wide, range(min(had, count)), axis)
            pad = [(0, count - kept.shape[axis] if each == axis else 0) for each in range(old.ndim)]
            made = np.pad(kept, pad)
        elif by == "tile":
            made = np.take(wide, [number % had for number in range(count)], axis) * (had / count)
        else:
            whole = wide.sum(axis, keepdims=True) / (count if by == "sum" else had)
            made = np.repeat(whole, count, axis)
        return made.astype(old.dtype)

    return deferred(shape, tensor.dtype, make)
