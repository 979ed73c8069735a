"""Checks that layers get inputs that fit their weights after the layers around them changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from surgery.architecture.entries import class_of, join
from surgery.architecture.graph import Graph, is_graph, mapped, parse, topological
from surgery.architecture.graph.model import Entry
from surgery.architecture.shapes.models import ModelShapes
from surgery.architecture.shapes.registry import Shape, output_shapes

_LAST = (
    "AdditiveAttention", "Attention", "Bidirectional", "Dense", "GRU", "GroupedQueryAttention",
    "LSTM", "MultiHeadAttention", "RNN", "SimpleRNN",
)  # fmt: skip
"""Classes whose weights follow from the size of the input's last axis alone."""

_OF_ANY = ("Embedding", "ReversibleEmbedding")


@dataclass(frozen=True)
class Given:
    """The input shapes of a layer's calls, and for each whether its output shape is known."""

    entry: Entry
    inputs: Sequence[Sequence[Shape | None]]
    is_told: Sequence[bool]


def given(config: Entry, shapes: ModelShapes) -> Mapping[str, Given]:
    """Return what each layer is given, by its address, those in nested models included."""
    found: dict[str, Given] = {}
    for address, entry, inputs, told in _given(parse(config), shapes, ""):
        before = found.get(address, Given(entry, (), ()))
        found[address] = Given(entry, (*before.inputs, inputs), (*before.is_told, told))
    return found


def _given(
    graph: Graph, shapes: ModelShapes, parent: str
) -> Iterator[tuple[str, Entry, Sequence[Shape | None], bool]]:
    for name, number in topological(graph):
        entry, call = graph.layers[name], graph.calls[name, number]
        if call.refs():
            args, kwargs = (mapped(value, shapes.shapes.get) for value in (call.args, call.kwargs))
            told = output_shapes(entry, args, kwargs) is not None  # what is stored may be stale
            yield join(parent, name), entry, [shapes.shapes.get(r) for r in call.refs()], told
        if (name, number) in shapes.inner:
            yield from _given(parse(entry), shapes.inner[name, number], join(parent, name))


def misfit(before: Given, after: Given, has_weights: bool) -> str:
    """Return why a layer cannot take what it is given now, or nothing.

    `before` is the layer where its weights fit.
    """
    for inputs, told in zip(after.inputs, after.is_told, strict=True):
        if list(inputs) in [list(old) for old in before.inputs]:
            continue
        if None in inputs:
            return "the shape of what it would get is not known"
        if not told:
            if all(before.is_told):
                return f"Keras does not call it on {_shown(inputs)}"
            return f"what it returns for {_shown(inputs)} is not known"
        known = [_decisive(before.entry, old) for old in before.inputs]
        if has_weights and _decisive(after.entry, inputs) not in known:
            was = _shown(before.inputs[0])
            return f"its weights are for {was}, and it would get {_shown(inputs)}"
    return ""


def _decisive(entry: Entry, inputs: Sequence[Shape | None]) -> Sequence[object]:
    """Return the sizes of inputs that the shapes of a layer's weights follow from."""
    class_name, config = class_of(entry), entry["config"]
    if class_name in _OF_ANY or is_graph(entry):  # a model's layers are looked at themselves
        return ()
    if class_name in _LAST:
        return [shape and shape[-1] for shape in inputs]
    if class_name == "TimeDistributed":
        steps = [shape and (*shape[:1], *shape[2:]) for shape in inputs]
        inner = config["layer"]
        return (
            [shape and shape[1:] for shape in steps] if is_graph(inner) else _decisive(inner, steps)
        )
    if "Conv" in class_name:
        first = 2 if class_name.startswith("ConvLSTM") else 1  # behind the steps
        place = first if config.get("data_format") == "channels_first" else -1
        return [shape and shape[place] for shape in inputs]
    if class_name.endswith("Normalization") and "axis" in config:
        axis = config["axis"]
        axes = axis if isinstance(axis, list) else [axis]
        if all(isinstance(each, int) for each in axes):
            return [
                shape and [shape[each] for each in axes if -len(shape) <= each < len(shape)]
                for shape in inputs
            ]
    return [shape and shape[1:] for shape in inputs]


def _shown(inputs: Sequence[Shape | None]) -> str:
    return " and ".join(
        "x".join("?" if size is None else str(size) for size in shape[1:]) if shape else "?"
        for shape in inputs
    )
