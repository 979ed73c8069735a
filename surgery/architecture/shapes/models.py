"""The shapes and the FLOPs of every call in a model, from its config."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from surgery.architecture.entries import class_of
from surgery.architecture.graph import Graph, Ref, is_graph, mapped, parse, refs, topological
from surgery.architecture.graph.model import CallKey
from surgery.architecture.shapes.registry import (
    LAYERS,
    RULE_ERRORS,
    Entry,
    Shape,
    flops,
    leaves,
    output_shapes,
)

_MODELS = ("Functional", "Sequential")


@dataclass(frozen=True)
class ModelShapes:
    """The shapes and FLOPs of a model's calls, as far as its config determines them.

    Attributes:
        shapes: the shape of each output of a call, None where it is unknown.
        flops: the FLOPs of each call for a batch of one, None where they are unknown.
        inner: what is inside each call of a nested model.
        outputs: the shapes of the model's outputs, in their structure.
    """

    shapes: Mapping[Ref, Shape | None]
    flops: Mapping[CallKey, int | None]
    inner: Mapping[CallKey, ModelShapes]
    outputs: Any

    @property
    def total(self) -> int | None:
        """The FLOPs of the model: the sum over its calls, None where one is unknown."""
        return _total(self.flops.values())

    def unknown(self) -> list[CallKey]:
        """Return the calls whose FLOPs are unknown."""
        return [key for key, cost in self.flops.items() if cost is None]

    def of_call(self, layer: str, call: int = 0) -> tuple[Shape | None, ...]:
        """Return the shapes of the outputs of a layer's call; empty if nothing is known of them."""
        return self._by_call.get((layer, call), ())

    @cached_property
    def _by_call(self) -> Mapping[CallKey, tuple[Shape | None, ...]]:
        found: dict[CallKey, list[Shape | None]] = {}
        for ref in sorted(self.shapes):
            found.setdefault(ref.key, []).append(self.shapes[ref])
        return {key: tuple(shapes) for key, shapes in found.items()}


def model_shapes(model: Entry | Graph) -> ModelShapes:
    """Return the shapes and the FLOPs of a model, given its config entry or its graph.

    A rule goes before what the config has stored, which may be older than the layers around it.
    FLOPs are those of one example, or of the batch that the model's inputs fix.
    """
    graph = model if isinstance(model, Graph) else parse(model)
    return _with_flops(_Walk(graph, []).run(), _Walk(graph, [], counts=True).run(), {})


def _with_flops(
    found: ModelShapes, counted: ModelShapes, done: dict[int, ModelShapes]
) -> ModelShapes:
    """Return the shapes of one walk, whose batch may be unknown, with the FLOPs of another.

    `done` has what was made of models that several calls share, by the identity of `counted`.
    """
    if id(counted) not in done:
        inner = {
            key: _with_flops(found.inner[key], counted.inner[key], done) for key in found.inner
        }
        done[id(counted)] = ModelShapes(found.shapes, counted.flops, inner, found.outputs)
    return done[id(counted)]


class _Walk:
    """A walk through the calls of a model.

    `given` are the shapes of its inputs, or empty if those in the config are taken. With `counts`
    it counts FLOPs, and takes 1 for an unknown batch.
    """

    def __init__(
        self, graph: Graph, given: Sequence[Shape | None], *, counts: bool = False
    ) -> None:
        self.graph, self.counts = graph, counts
        self.given = dict(zip(refs(graph.inputs), given, strict=True)) if given else {}
        self.stored: dict[CallKey, dict[Ref, Shape]] = {}
        for ref, shape in graph.shapes.items():
            self.stored.setdefault(ref.key, {})[ref] = self.read(tuple(shape))
        self.calls = Counter(layer for layer, _ in graph.calls)
        self.models: dict[tuple[str, tuple[Any, ...]], ModelShapes] = {}
        self.shapes: dict[Ref, Shape | None] = {}
        self.flops: dict[CallKey, int | None] = {}
        self.inner: dict[CallKey, ModelShapes] = {}

    def read(self, shape: Shape) -> Shape:
        """Return a shape of the config as this walk takes it."""
        return (1, *shape[1:]) if self.counts and shape[:1] == (None,) else shape

    def run(self) -> ModelShapes:
        """Return what is known of the model."""
        for key in topological(self.graph):
            outputs, self.flops[key] = self.call(key)
            self.shapes.update(self.stored.get(key, {}))
            made = {Ref(*key, number): shape for number, shape in enumerate(leaves(outputs))}
            self.shapes.update({ref: shape for ref, shape in made.items() if shape is not None})
        outputs = mapped(self.graph.outputs, self.shapes.get)
        return ModelShapes(self.shapes, self.flops, self.inner, outputs)

    def call(self, key: CallKey) -> tuple[Any, int | None]:
        """Return the outputs of a call, and its FLOPs."""
        entry, call = self.graph.layers[key[0]], self.graph.calls[key]
        if Ref(*key, 0) in self.given:
            return self.given[Ref(*key, 0)], 0
        needed = call.refs()
        self.read_built(entry, key, needed)
        args, kwargs = mapped(call.args, self.shapes.get), mapped(call.kwargs, self.shapes.get)
        if _is_model(entry):
            return self.nested(entry, key, args[0] if args else kwargs.get("inputs"))
        if any(self.shapes.get(ref) is None for ref in needed):
            return None, None
        if class_of(entry) == "InputLayer":
            made = output_shapes(entry, [], {})
            return made and self.read(made), 0
        outputs = output_shapes(entry, args, kwargs)
        return outputs, flops(entry, args, kwargs, outputs) if self.counts else None

    def read_built(self, entry: Entry, key: CallKey, needed: Sequence[Ref]) -> None:
        """Take an input's shape from what the layer was built for, where nothing else tells."""
        built = entry.get("build_config")
        shape = built.get("input_shape") if isinstance(built, Mapping) else None
        if (
            isinstance(shape, list)
            and all(size is None or isinstance(size, int) for size in shape)
            and len(needed) == self.calls[key[0]] == 1
            and self.shapes.get(needed[0]) is None
        ):
            self.shapes[needed[0]] = self.read(tuple(shape))

    def nested(self, entry: Entry, key: CallKey, given: Any) -> tuple[Any, int | None]:
        """Return the outputs and the FLOPs of a model's call."""
        try:
            graph = parse(entry)
            inputs = tuple(_in_order(graph.inputs, given))
            if (key[0], inputs) not in self.models:
                walk = _Walk(graph, inputs, counts=self.counts)
                self.models[key[0], inputs] = walk.run()
        except RULE_ERRORS:
            return None, None
        found = self.inner[key] = self.models[key[0], inputs]
        return found.outputs, found.total


def _in_order(inputs: Any, given: Any) -> list[Any]:
    """Return what is given for each input: by its name where both are mappings, else in order."""
    if isinstance(inputs, Mapping) and isinstance(given, Mapping):
        return [shape for name in sorted(inputs) for shape in _in_order(inputs[name], given[name])]
    return [shape if isinstance(shape, tuple) else None for shape in leaves(given)]


def _is_model(entry: Entry) -> bool:
    return class_of(entry) in _MODELS and is_graph(entry)


def _total(costs: Iterable[int | None]) -> int | None:
    known = list(costs)
    return None if None in known else sum(cost for cost in known if cost is not None)


@LAYERS.shape(*_MODELS)
def _model(inputs: Any, *, entry: Entry) -> Any:
    graph = parse(entry)
    return _Walk(graph, _in_order(graph.inputs, inputs)).run().outputs


@LAYERS.cost(*_MODELS)
def _model_cost(_outputs: Any, inputs: Any, *, entry: Entry) -> int:
    graph = parse(entry)
    total = _Walk(graph, _in_order(graph.inputs, inputs), counts=True).run().total
    if total is None:
        raise ValueError(entry["class_name"])
    return total
