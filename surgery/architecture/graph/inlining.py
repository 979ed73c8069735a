"""Puts the layers of a model inside a graph in its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from surgery.architecture.entries import join
from surgery.architecture.graph.editing import renamed
from surgery.architecture.graph.model import Call, CallKey, Graph, Ref, mapped, refs
from surgery.architecture.graph.order import topological
from surgery.architecture.graph.reading import is_graph, parse

Namer = Callable[[str, str], str]
"""Returns a layer's name outside, from the inner model's name and its own."""


def inlined(graph: Graph, model: str, name: Namer) -> tuple[Graph, Mapping[str, str]]:
    """Return a graph with the layers of an inner model in its place, and their new names.

    The new names are by the layers' addresses in the graph before. The layers are called once for
    each call of the model. Raises ValueError where the result would not be the same.
    """
    entry = graph.layers[model]
    inner = parse(entry)
    _check_calls(graph, model)
    inputs = [ref.layer for ref in refs(inner.inputs)]
    order = topological(inner)
    called = {layer for layer, _ in order} - set(inputs)
    names = {layer: name(model, layer) for layer in inner.layers if layer in called}
    counts = Counter([*names.values(), *(layer for layer in graph.layers if layer != model)])
    if taken := [new for new in names.values() if counts[new] > 1]:
        raise ValueError(f"two layers would be called {taken[0]}")
    frozen = entry["config"].get("trainable") is False
    layers = {
        key: value
        for outer, outer_entry in graph.layers.items()
        for key, value in (
            [(new, renamed(inner.layers[old], new, frozen)) for old, new in names.items()]
            if outer == model
            else [(outer, outer_entry)]
        )
    }
    placed = _Placed(graph, inner, model, names, [key for key in order if key[0] not in inputs])
    calls: dict[CallKey, Call] = {}
    for key, call in graph.calls.items():
        if key[0] == model:
            calls |= placed.calls(key[1], call)
        else:
            calls[key] = call
    outer_refs = {
        Ref(model, number, tensor): ref
        for number in graph.calls_of(model)
        for tensor, ref in enumerate(placed.outputs(number))
    }

    def new(ref: Ref) -> Ref:
        while ref in outer_refs:  # a model that returns what it was given
            ref = outer_refs[ref]
        return ref

    calls = {
        key: Call(mapped(call.args, new), mapped(call.kwargs, new)) for key, call in calls.items()
    }
    shapes = {new(ref): shape for ref, shape in graph.shapes.items()} | placed.facts(inner.shapes)
    dtypes = {new(ref): dtype for ref, dtype in graph.dtypes.items()} | placed.facts(inner.dtypes)
    made = replace(
        graph,
        layers=layers,
        calls=calls,
        inputs=mapped(graph.inputs, new),
        outputs=mapped(graph.outputs, new),
        shapes=shapes,
        dtypes=dtypes,
    )
    return made, {join(model, old): new_name for old, new_name in names.items()}


def _check_calls(graph: Graph, model: str) -> None:
    for number in graph.calls_of(model):
        for key, value in graph.calls[model, number].kwargs.items():
            if not _is_nothing(value):
                raise ValueError(f"{model} is called with {key}, which its layers would not get")


def _is_nothing(value: Any) -> bool:
    """Return whether an argument is None, or has one for each input."""
    if isinstance(value, list):
        return all(map(_is_nothing, value))
    return value is None


class _Placed:
    """The calls of an inner model's layers, once for each call of the model."""

    def __init__(
        self,
        graph: Graph,
        inner: Graph,
        model: str,
        names: Mapping[str, str],
        order: list[CallKey],
    ) -> None:
        self.graph, self.inner, self.model = graph, inner, model
        self.names, self.order = names, order
        self.counts = Counter(layer for layer, _ in inner.calls)

    def calls(self, number: int, call: Call) -> dict[CallKey, Call]:
        """Return the calls of the layers for one call of the model."""
        given = self._given(call)

        def new(ref: Ref) -> Ref:
            return given[ref] if ref in given else self._ref(ref, number)

        return {
            self._ref(Ref(*key), number).key: Call(
                mapped(self.inner.calls[key].args, new), mapped(self.inner.calls[key].kwargs, new)
            )
            for key in self.order
        }

    def outputs(self, number: int) -> list[Ref]:
        """Return what one call of the model returns."""
        given = self._given(self.graph.calls[self.model, number])
        return [given.get(ref) or self._ref(ref, number) for ref in refs(self.inner.outputs)]

    def facts(self, facts: Mapping[Ref, Any]) -> dict[Ref, Any]:
        """Return shapes or dtypes of the first call's tensors by their new Refs."""
        return {self._ref(ref, 0): fact for ref, fact in facts.items() if ref.layer in self.names}

    def _ref(self, ref: Ref, number: int) -> Ref:
        place = number * self.counts[ref.layer] + ref.call
        return Ref(self.names[ref.layer], place, ref.tensor)

    def _given(self, call: Call) -> dict[Ref, Ref]:
        """Return what stands for each input of the model in one of its calls."""
        inputs, args = self.inner.inputs, list(call.args)
        by_name = {ref.layer: ref for ref in refs(inputs)}
        if len(args) == 1 and isinstance(args[0], Mapping) and set(args[0]) == set(by_name):
            bound = {by_name[key]: value for key, value in args[0].items()}
        else:
            flat = refs(args)
            if len(flat) != len(by_name):
                raise ValueError(
                    f"{self.model} takes {len(by_name)} inputs and is given {len(flat)}"
                )
            bound = dict(zip(refs(inputs), flat, strict=True))
        for ref, value in bound.items():
            wanted, found = self.inner.dtypes.get(ref), self.graph.dtypes.get(value)
            if wanted and found and wanted != found:
                raise ValueError(
                    f"{self.model} casts its input {ref.layer} from {found} to {wanted}"
                )
        return bound


def flattened(
    graph: Graph, addresses: Iterable[str], name: Namer
) -> tuple[Graph, Mapping[str, str]]:
    """Return a graph with the layers of inner models in their places, and their new names.

    The models that they are in are flattened too. The new names are by the addresses before.
    """
    paths = {
        "/".join(address.split("/")[:depth])
        for address in addresses
        for depth in range(1, address.count("/") + 2)
    }
    names: dict[str, str] = {}
    for path in sorted(paths, key=lambda path: (path.count("/"), path)):
        now = names.get(path, path)
        if now not in graph.layers or not is_graph(graph.layers[now]):
            raise ValueError(f"{path} is not a model whose layers can be put in its place")
        graph, moved = inlined(graph, now, name)
        names |= {path + old.removeprefix(now): new for old, new in moved.items()}
    return graph, names
