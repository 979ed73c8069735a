"""Changes to a graph: other names, other connections, layers more or fewer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from surgery.architecture.entries import join
from surgery.architecture.graph.model import Call, CallKey, Entry, Graph, Ref, mapped, refs
from surgery.architecture.graph.reading import is_graph, parse
from surgery.architecture.graph.writing import entry_of


def with_refs(graph: Graph, change: Callable[[Ref], Ref], but: Collection[CallKey] = ()) -> Graph:
    """Return a graph in which calls and outputs are given other tensors, but for some calls."""
    calls = {
        key: call if key in but else Call(mapped(call.args, change), mapped(call.kwargs, change))
        for key, call in graph.calls.items()
    }
    return replace(graph, calls=calls, outputs=mapped(graph.outputs, change))


def renamed(entry: Entry, name: str, frozen: bool = False) -> Entry:
    """Return a layer's entry with another name, and frozen if it is to be."""
    config = {**entry["config"], "name": name, **({"trainable": False} if frozen else {})}
    return {**entry, "name": name, "config": config}


def with_layer_names(graph: Graph, names: Mapping[str, str]) -> Graph:
    """Return a graph with other names for its layers; raises ValueError where two would be one."""

    def new(ref: Ref) -> Ref:
        return Ref(names.get(ref.layer, ref.layer), ref.call, ref.tensor)

    layers = {names.get(old, old): entry for old, entry in graph.layers.items()}
    if len(layers) < len(graph.layers):
        raise ValueError("two layers would have one name")
    changed = with_refs(graph, new)
    return replace(
        changed,
        layers={
            name: entry if name in graph.layers and name not in names else renamed(entry, name)
            for name, entry in layers.items()
        },
        calls={(names.get(name, name), n): call for (name, n), call in changed.calls.items()},
        inputs=mapped(graph.inputs, new),
        shapes={new(ref): shape for ref, shape in graph.shapes.items()},
        dtypes={new(ref): dtype for ref, dtype in graph.dtypes.items()},
    )


def prefixed(entry: Entry, prefix: str, address: str = "") -> tuple[Entry, Mapping[str, str]]:
    """Return a model with a prefix to its name and to those of its layers, nested ones included.

    Also returns the new addresses by the old ones.
    """
    graph = parse(entry)
    addresses: dict[str, str] = {}
    layers: dict[str, Entry] = {}
    for name, layer in graph.layers.items():
        old = join(address, name)
        addresses[old] = prefix + name
        layers[name] = layer
        if is_graph(layer):
            inner, below = prefixed(layer, prefix, old)
            layers[name] = inner
            addresses |= {k: join(prefix + name, new) for k, new in below.items()}
    names = {name: prefix + name for name in layers}
    made = entry_of(with_layer_names(replace(graph, layers=layers), names))
    own = str(made["config"].get("name") or "model")
    return {**made, "config": {**made["config"], "name": prefix + own}}, addresses


def without_layer(graph: Graph, layer: str, keep_input: int | None = None) -> Graph:
    """Return a graph in which what a layer's calls return is what they are given.

    Of a call on several tensors, the one of number `keep_input` goes on. Raises ValueError for an
    input of the model, for a call on several tensors without that number, and where a second
    output of the layer is read.
    """
    if graph.layers[layer]["class_name"] == "InputLayer":
        raise ValueError(f"{layer} is an input of the model; extract takes parts of a model out")
    instead: dict[Ref, Ref] = {}
    for number in graph.calls_of(layer):
        given = graph.calls[layer, number].refs()
        if len(given) != 1 and keep_input is None:
            names = ", ".join(f"{i}: {ref}" for i, ref in enumerate(given))
            raise ValueError(
                f"{layer} has {len(given)} inputs; keep_input says which of them goes on ({names})"
            )
        if keep_input is not None and keep_input >= len(given):
            raise ValueError(f"{layer} has {len(given)} inputs, none of number {keep_input}")
        instead[Ref(layer, number)] = given[keep_input or 0]
    read = {ref for call in graph.calls.values() for ref in call.refs()} | {*refs(graph.outputs)}
    if several := [ref for ref in read if ref.layer == layer and ref.tensor]:
        raise ValueError(f"{layer} returns several tensors, of which {several[0]} is read")

    def new(ref: Ref) -> Ref:
        while ref in instead:
            ref = instead[ref]
        return ref

    kept = {key: call for key, call in graph.calls.items() if key[0] != layer}
    layers = {name: entry for name, entry in graph.layers.items() if name != layer}
    return with_refs(replace(graph, layers=layers, calls=kept), new)


def with_layer(graph: Graph, name: str, entry: Entry, calls: Mapping[int, Any]) -> Graph:
    """Return a graph with one more layer; `calls` has the arguments of each of its calls.

    Raises ValueError where there is a layer of that name.
    """
    if name in graph.layers:
        raise ValueError(f"there is a layer called {name} already; give another name")
    added = {(name, number): Call(args) for number, args in calls.items()}
    return replace(
        graph,
        layers={**graph.layers, name: renamed(entry, name)},
        calls={**graph.calls, **added},
    )


def inserted(graph: Graph, name: str, entry: Entry, tensors: Collection[Ref]) -> Graph:
    """Return a graph with a layer between some tensors and all that is given them."""
    numbers = {ref: number for number, ref in enumerate(tensors)}
    grown = with_layer(graph, name, entry, {n: [ref] for ref, n in numbers.items()})
    own = [(name, number) for number in numbers.values()]
    return with_refs(grown, lambda ref: Ref(name, numbers[ref]) if ref in numbers else ref, but=own)


def inserted_before(
    graph: Graph, name: str, entry: Entry, layer: str, numbers: Collection[int]
) -> Graph:
    """Return a graph with a layer between the input of some calls of a layer and these calls.

    Raises ValueError where such a call is given several tensors, or none.
    """
    given: dict[int, Ref] = {}
    for number in numbers:
        own = graph.calls[layer, number].refs()
        if len(own) != 1:
            raise ValueError(f"{layer} has {len(own)} inputs; say after which layer instead")
        given[number] = own[0]
    order = {number: place for place, number in enumerate(given)}
    grown = with_layer(graph, name, entry, {order[n]: [ref] for n, ref in given.items()})
    calls = dict(grown.calls)
    for number, ref in given.items():

        def new(each: Ref, ref: Ref = ref, place: int = order[number]) -> Ref:
            return Ref(name, place) if each == ref else each

        call = calls[layer, number]
        calls[layer, number] = Call(mapped(call.args, new), mapped(call.kwargs, new))
    return replace(grown, calls=calls)
