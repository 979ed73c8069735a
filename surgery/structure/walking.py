"""Walks through the calls of a model, nested ones too, and labels the channels of every tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from surgery.architecture import Architecture
from surgery.architecture.entries import class_of, is_operation, join
from surgery.architecture.graph import Call, Graph, Ref, is_graph, mapped, parse, refs, topological
from surgery.architecture.graph.model import CallKey, Entry
from surgery.architecture.graph.nodes import nodes
from surgery.architecture.shapes import RULE_ERRORS, ModelShapes, model_shapes
from surgery.structure import rules  # noqa: F401 - it registers them
from surgery.structure.calls import LAYERS, OPERATIONS, At, Axis, Outputs, leaves
from surgery.structure.labels import Labels, Traced

_NO_RULE = "has no rule for what it does with channels"
_UNKNOWN = Traced.plain(None)
_MASKS = ("mask", "attention_mask", "query_mask", "key_mask", "value_mask")


@dataclass
class Trace:
    """The labels of a model.

    Attributes:
        labels: they, and where they stand.
        made: those that layers make and read, by the layer's address and a key.
        tensors: those of every tensor, by the address of the model that has its call.
    """

    labels: Labels = field(default_factory=Labels)
    made: dict[tuple[str, Any], Axis] = field(default_factory=dict)
    tensors: dict[tuple[str, Ref], Traced] = field(default_factory=dict)


def traced(architecture: Architecture) -> Trace:
    """Return the labels of all channels of a model whose config is a graph.

    What no rule tells of is pinned, so that labels without pins are safe to remove.
    """
    graph = parse(architecture.config)
    walk = _Walk(architecture)
    given = {ref: Traced.plain(graph.shapes.get(ref)) for ref in refs(graph.inputs)}
    for tensor in walk.run(graph, model_shapes(graph), "", given):
        for labels in tensor.labels:
            walk.trace.labels.pin(labels, "they are outputs of the model")
    return walk.trace


class _Walk:
    def __init__(self, architecture: Architecture) -> None:
        self.trace = Trace()
        self.tree = architecture.by_address
        self.seen: set[str] = set()
        self.shared = _shared(architecture)

    def run(
        self, graph: Graph, shapes: ModelShapes, parent: str, given: Mapping[Ref, Traced]
    ) -> list[Traced]:
        """Return the outputs of a model that is given tensors for its inputs."""
        tensors: dict[Ref, Traced] = {}
        for key in topological(graph):
            address = join(parent, key[0])
            if Ref(*key) in given:
                made = [self.entered(address, given[Ref(*key)])]
            else:
                made = self.called(graph, shapes, parent, key, tensors)
            self.seen.add(address)
            for number, tensor in enumerate(made):
                tensors[Ref(*key, number)] = tensor
                self.trace.tensors[parent, Ref(*key, number)] = tensor
        return [tensors.get(ref, _UNKNOWN) for ref in refs(graph.outputs)]

    def entered(self, address: str, tensor: Traced) -> Traced:
        """Return what an input of a nested model is given, whose shape its config has."""
        at = self.at(address, {"class_name": "InputLayer", "config": {}}, Call(), [tensor], [])
        for axis, labels in enumerate(tensor.labels):
            at.read(labels, axis)
            if labels is not None:
                at.edit(("batch_shape", axis), labels)
        return tensor

    def called(
        self,
        graph: Graph,
        shapes: ModelShapes,
        parent: str,
        key: CallKey,
        tensors: Mapping[Ref, Traced],
    ) -> list[Traced]:
        """Return what a call returns."""
        entry, call = graph.layers[key[0]], graph.calls[key]

        def tensor(ref: Ref) -> Traced:
            return tensors.get(ref, _UNKNOWN)

        args, kwargs = mapped(call.args, tensor), mapped(call.kwargs, tensor)
        call = Call(args, kwargs)
        masks = {name: value for name, value in kwargs.items() if name in _MASKS}
        plain = {name: value for name, value in kwargs.items() if name not in _MASKS}
        given = [each for each in leaves([args, plain]) if isinstance(each, Traced)]
        outputs = _outputs(shapes, key)
        at = self.at(join(parent, key[0]), entry, call, given, outputs)
        for mask in leaves(masks):
            if isinstance(mask, Traced):
                at.pin(mask.labels, "is given them as a mask")
        if is_graph(entry) and key in shapes.inner and at.layer not in self.shared:
            inner = parse(entry)
            inputs = refs(inner.inputs)
            if len(inputs) == len(given) and not isinstance(inner.inputs, Mapping):
                bound = dict(zip(inputs, given, strict=True))
                return self.run(inner, shapes.inner[key], at.layer, bound)
            if by_name := _by_name(inner.inputs, args):
                return self.run(inner, shapes.inner[key], at.layer, by_name)
        return self.ruled(at)

    def at(
        self,
        address: str,
        entry: Entry,
        call: Call,
        given: Sequence[Traced],
        outputs: Sequence[tuple[int | None, ...] | None],
    ) -> At:
        return At(
            self.trace.labels,
            self.trace.made,
            address,
            self.tree.get(address),
            entry,
            call.args,
            call.kwargs,
            given,
            outputs,
            address not in self.seen,
        )

    def ruled(self, at: At) -> list[Traced]:
        """Return what a call returns by the rule of its class; without one its labels stay."""
        found = OPERATIONS.found if is_operation(at.entry) else LAYERS.found
        rule = found.get(str(at.entry["class_name"]) if is_operation(at.entry) else at.class_name)
        is_known = rule is not None and at.layer not in self.shared
        is_known = is_known and all(tensor.shape is not None for tensor in at.tensors)
        try:
            made = rule(at) if rule is not None and is_known and at.tensors else None
        except RULE_ERRORS:  # of an odd config
            made = None
            for (address, _), own in self.trace.made.items():
                if address == at.address:
                    at.pin(own, _NO_RULE)
        if made is None or not _fits(made, at.outputs):
            for tensor in at.tensors:
                at.pin(tensor.labels, _NO_RULE)
            for labels in made or ():
                at.pin(labels, _NO_RULE)
            return [Traced.plain(shape) for shape in at.outputs]
        rest = at.outputs[len(made) :]
        return [
            *(Traced(tuple(m), shape) for m, shape in zip(made, at.outputs, strict=False)),
            *map(Traced.plain, rest),
        ]


def _outputs(shapes: ModelShapes, key: CallKey) -> Sequence[tuple[int | None, ...] | None]:
    """Return the shapes of what a call returns; empty where one before a known one is not known."""
    found = shapes.of_call(*key)
    exact = [shapes.shapes.get(Ref(*key, number)) for number in range(len(found))]
    return exact if all(shape is not None for shape in exact) else ()


def _by_name(inputs: Any, args: Sequence[Any]) -> dict[Ref, Traced] | None:
    """Return what a model is given for each input, where both are mappings of the same names."""
    if not (isinstance(inputs, Mapping) and len(args) == 1 and isinstance(args[0], Mapping)):
        return None
    if set(inputs) != set(args[0]):
        return None
    return {inputs[name]: args[0][name] for name in inputs}


def _fits(made: Outputs, shapes: Sequence[tuple[int | None, ...] | None]) -> bool:
    """Return whether labels are as many as the sizes of the tensors that they are of."""
    if made is None or len(made) > len(shapes):
        return False
    for labels, shape in zip(made, shapes, strict=False):
        if shape is None or len(labels) != len(shape):
            return False
        if any(each is not None and each.size != n for each, n in zip(labels, shape, strict=True)):
            return False
    return True


def _shared(architecture: Architecture) -> frozenset[str]:
    """Return the addresses of layers that several models have, which are left as they are."""
    places: dict[Any, list[str]] = {}
    for node in nodes(architecture):
        number = node.entry.get("shared_object_id")
        if number is not None and class_of(node.entry) != "InputLayer":
            places.setdefault(number, []).append(node.address)
    return frozenset(a for same in places.values() if len(same) > 1 for a in same)
