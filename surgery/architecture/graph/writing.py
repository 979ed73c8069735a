"""Writes a graph as Keras serialises a model."""

from __future__ import annotations

from typing import Any

from surgery.architecture.graph.model import CallKey, Graph, Ref, mapped, refs
from surgery.architecture.graph.order import keras_order, topological
from surgery.architecture.graph.reading import counts_itself, is_sequential

_FUNCTIONAL = {
    "module": "keras.src.models.functional",
    "class_name": "Functional",
    "registered_name": "Functional",
}


def entry_of(graph: Graph) -> dict[str, Any]:
    """Return a graph as an entry that Keras 3 loads, its layers in Keras's own order.

    Layers and calls that no output depends on are left out; the inputs all stay. A Sequential
    model that is still a chain stays one, any other becomes a functional model.
    """
    if is_sequential(graph.entry) and _is_chain(graph):
        return _sequential(graph)
    return _functional(graph)


def _is_chain(graph: Graph) -> bool:
    """Return whether each layer is called once, on the output of the one before it."""
    calls = topological(graph)
    last: Ref | None = None
    for key in calls:
        call = graph.calls[key]
        given = [] if last is None else [last]
        if call.refs() != given or call.kwargs or key[1] or len(call.args) > 1:
            return False
        last = Ref(*key)
    return graph.outputs == last and refs(graph.inputs) == [Ref(*calls[0])]


def _sequential(graph: Graph) -> dict[str, Any]:
    config = {key: v for key, v in graph.entry["config"].items() if key != "build_input_shape"}
    layers = []
    for name, _ in topological(graph):
        layer = {key: value for key, value in graph.layers[name].items() if key != "name"}
        if layer["class_name"] != "InputLayer" or layer["config"].get("batch_shape"):
            layers.append(layer)
    shape = graph.shapes.get(refs(graph.inputs)[0])
    entry = {**graph.entry, "config": {**config, "layers": layers}}
    entry.pop("build_config", None)
    if shape is not None:
        entry["config"]["build_input_shape"] = list(shape)
        entry["build_config"] = {"input_shape": list(shape)}
    return entry


def _functional(graph: Graph) -> dict[str, Any]:
    kept = topological(graph)
    kept += [ref.key for ref in refs(graph.inputs) if ref.key not in kept]
    numbers = _numbers(kept)
    own = {name for name, _ in kept if counts_itself(graph.layers[name])}

    def end(ref: Ref) -> list[Any]:
        return [ref.layer, numbers[ref.key] + (ref.layer in own), ref.tensor]

    def tensor(ref: Ref) -> dict[str, Any]:
        return {
            "class_name": "__keras_tensor__",
            "config": {
                "shape": list(graph.shapes.get(ref, ())),
                "dtype": graph.dtypes.get(ref, "float32"),
                "keras_history": [ref.layer, numbers[ref.key], ref.tensor],
            },
        }

    nodes: dict[str, list[dict[str, Any]]] = {name: [] for name in keras_order(graph)}
    for key in sorted(kept, key=lambda key: key[1]):
        call = graph.calls[key]
        if call.args or call.kwargs:
            node = {"args": mapped(call.args, tensor), "kwargs": mapped(call.kwargs, tensor)}
            nodes[key[0]].append(node)
    layers = [
        {**graph.layers[name], "name": name, "inbound_nodes": own} for name, own in nodes.items()
    ]
    config = graph.entry["config"]
    was_sequential = is_sequential(graph.entry)
    rest = {"name": config.get("name"), "trainable": True} if was_sequential else config
    entry = {**graph.entry, **_FUNCTIONAL} if was_sequential else dict(graph.entry)
    entry["config"] = {
        **rest,
        "layers": layers,
        "input_layers": mapped(graph.inputs, end),
        "output_layers": mapped(graph.outputs, end),
    }
    entry.pop("build_config", None)
    return entry


def _numbers(calls: list[CallKey]) -> dict[CallKey, int]:
    """Return the calls of each layer, counted from 0 where some are left out."""
    numbers: dict[CallKey, int] = {}
    counts: dict[str, int] = {}
    for key in sorted(calls, key=lambda key: key[1]):
        numbers[key] = counts[key[0]] = counts.get(key[0], -1) + 1
    return numbers
