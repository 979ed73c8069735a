"""The layers of a model's graph and of the graphs inside it, each where it is called."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from surgery.architecture.entries import Keys, at, class_of, join
from surgery.architecture.graph.model import Entry, Graph
from surgery.architecture.graph.reading import is_graph, parse
from surgery.architecture.graph.writing import entry_of
from surgery.architecture.tree import Architecture


@dataclass(frozen=True)
class Node:
    """A layer or operation of a graph; `parent` is the address of the model that calls it."""

    address: str
    name: str
    parent: str
    entry: Entry

    @property
    def class_name(self) -> str:
        """The layer's class."""
        return class_of(self.entry)


def nodes(architecture: Architecture) -> Iterator[Node]:
    """Yield every layer that a graph lists, operations and inputs included, outer models first."""
    for parent, _, _ in models(architecture):
        for name, inner in graph_of(architecture, parent).layers.items():
            yield Node(join(parent, name), name, parent, inner)


def models(architecture: Architecture) -> Sequence[tuple[str, Keys, Entry]]:
    """Return address, keys and entry of the model and of the models inside it that are graphs."""
    return architecture.once(_models)


def _models(architecture: Architecture) -> Sequence[tuple[str, Keys, Entry]]:
    return tuple(_each_model(architecture))


def _each_model(architecture: Architecture) -> Iterator[tuple[str, Keys, Entry]]:
    for layer in architecture.root.walk():
        if layer.keys is not None:
            entry = at(architecture.config, layer.keys[:-1])
            if is_graph(entry):
                yield layer.address, layer.keys[:-1], entry


def graph_of(architecture: Architecture, parent: str) -> Graph:
    """Return the graph of the model at an address; raises KeyError where there is none."""
    graphs = architecture.once(_graphs)
    if parent not in graphs:
        graphs[parent] = parse({address: e for address, _, e in models(architecture)}[parent])
    return graphs[parent]


def _graphs(_: Architecture) -> dict[str, Graph]:
    """Return the place for the graphs that have been parsed, by their models' addresses."""
    return {}


def edited(
    architecture: Architecture, parent: str, change: Callable[[Graph], Graph]
) -> Mapping[str, Any]:
    """Return the config with the graph of one of its models changed."""
    places = {address: (keys, entry) for address, keys, entry in models(architecture)}
    keys, entry = places[parent]
    return _replaced(dict(places.values()), keys, entry_of(change(parse(entry))))


def _replaced(entries: Mapping[Keys, Entry], keys: Keys, new: Entry) -> Mapping[str, Any]:
    """Return the config with another entry for a model; the models that it is in are written anew.

    How Keras counts the calls of a model depends on the class that the model has.
    """
    if not keys:
        return new
    outer = max((k for k in entries if len(k) < len(keys) and keys[: len(k)] == k), key=len)
    _, _, index, *rest = keys[len(outer) :]
    layer = entries[outer]["config"]["layers"][index]
    graph = parse(entries[outer])
    name = layer.get("name") or layer["config"]["name"]
    layers = {**graph.layers, name: {**_with(layer, rest, new), "name": name}}
    return _replaced(entries, outer, entry_of(replace(graph, layers=layers)))


def _with(entry: Any, keys: Sequence[str | int], new: Any) -> Any:
    """Return a nested value with another one at those keys."""
    if not keys:
        return new
    first, *rest = keys
    if isinstance(entry, Mapping):
        return {**entry, first: _with(entry[first], rest, new)}
    return [_with(item, rest, new) if i == first else item for i, item in enumerate(entry)]
