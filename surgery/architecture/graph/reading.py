"""Reads a graph from a model's config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from surgery.architecture.entries import layer_entries
from surgery.architecture.graph.model import Call, CallKey, Entry, Graph, Ref

_TENSOR = "__keras_tensor__"


def is_graph(entry: Entry) -> bool:
    """Return whether an entry is a model whose layers and calls the config lists."""
    config = entry.get("config")
    if is_sequential(entry):
        return layer_entries(entry) is not None
    return isinstance(config, Mapping) and "input_layers" in config and bool(layer_entries(entry))


def is_sequential(entry: Entry) -> bool:
    """Return whether an entry is a Sequential model."""
    return str(entry.get("class_name")).rpartition(">")[2] == "Sequential"


def counts_itself(entry: Entry) -> bool:
    """Return whether Keras counts a call of its own before the calls of that model.

    Keras makes one for a functional model; `output_layers` counts it, `inbound_nodes` do not.
    """
    return is_graph(entry) and not is_sequential(entry)


def parse(entry: Entry) -> Graph:
    """Return the graph of a functional or Sequential model; raises ValueError for another one.

    Models inside it stay entries, which have graphs of their own.
    """
    if not is_graph(entry):
        raise ValueError(f"{entry.get('class_name')} is a model whose config does not list calls")
    return _sequential(entry) if is_sequential(entry) else _Reader(entry).graph()


class _Reader:
    """Reads a functional model."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.shapes: dict[Ref, tuple[int | None, ...]] = {}
        self.dtypes: dict[Ref, str] = {}

    def graph(self) -> Graph:
        config = self.entry["config"]
        layers = {_name(entry): _without_calls(entry) for entry in config["layers"]}
        calls: dict[CallKey, Call] = {}
        for entry in config["layers"]:
            name = _name(entry)
            if entry["class_name"] == "InputLayer":
                calls[name, 0] = Call()
                _add_input(entry, Ref(name), self.shapes, self.dtypes)
            for number, node in enumerate(entry.get("inbound_nodes") or ()):
                calls[name, number] = self.call(node)
        own = {name for name, entry in layers.items() if counts_itself(entry)}
        inputs, outputs = (_ends(config[key], own) for key in ("input_layers", "output_layers"))
        return Graph(self.entry, layers, calls, inputs, outputs, self.shapes, self.dtypes)

    def call(self, node: Any) -> Call:
        if isinstance(node, Mapping):
            return Call(self.decoded(node["args"]), self.decoded(node["kwargs"]))
        # Keras 1 and 2: [[layer, call, tensor, keyword arguments], ...], of one tensor or several.
        args = [Ref(*item[:3]) for item in node]
        kwargs = {k: v for item in node for k, v in (item[3] if len(item) > 3 else {}).items()}
        return Call([args[0] if len(args) == 1 else args], self.decoded(kwargs))

    def decoded(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            if value.get("class_name") == _TENSOR:
                config = value["config"]
                ref = Ref(*config["keras_history"])
                if config.get("shape") is not None:
                    self.shapes[ref] = tuple(config["shape"])
                self.dtypes[ref] = config["dtype"]
                return ref
            return {key: self.decoded(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.decoded(inner) for inner in value]
        return value


def _ends(value: Any, own: set[str]) -> Any:
    """Return a model's inputs or outputs as Refs."""
    if isinstance(value, list) and len(value) == 3 and isinstance(value[0], str):
        name, call, tensor = value
        return Ref(name, call - (name in own), tensor)
    if isinstance(value, Mapping):
        return {key: _ends(inner, own) for key, inner in value.items()}
    return [_ends(inner, own) for inner in value]


def _sequential(entry: Entry) -> Graph:
    """Return the chain of a Sequential model; its input may have no InputLayer of its own."""
    layers: dict[str, Entry] = {}
    calls: dict[CallKey, Call] = {}
    shapes: dict[Ref, tuple[int | None, ...]] = {}
    dtypes: dict[Ref, str] = {}
    last: Ref | None = None
    for layer in layer_entries(entry) or ():
        name = _name(layer)
        layers[name] = {**layer, "name": name}
        ref = Ref(name)
        if layer["class_name"] == "InputLayer":
            calls[name, 0] = Call()
            _add_input(layer, ref, shapes, dtypes)
        else:
            last = last or _implied_input(entry, layer, layers, calls, shapes, dtypes)
            given = (layer.get("build_config") or {}).get("input_shape")
            if isinstance(given, list) and all(n is None or isinstance(n, int) for n in given):
                shapes.setdefault(last, tuple(given))
            calls[name, 0] = Call([last])
        last = ref
    first = next(iter(layers), None)
    if first is None or last is None:
        raise ValueError("it is a Sequential model without layers")
    inputs = next(Ref(name) for name, each in layers.items() if each["class_name"] == "InputLayer")
    return Graph(entry, layers, calls, inputs, last, shapes, dtypes)


def _implied_input(
    entry: Entry,
    layer: Entry,
    layers: dict[str, Entry],
    calls: dict[CallKey, Call],
    shapes: dict[Ref, tuple[int | None, ...]],
    dtypes: dict[Ref, str],
) -> Ref:
    """Add the input of a Sequential model that lists none, and return it."""
    config = layer["config"]
    built = (each.get("build_config") or {} for each in (entry, layer))
    found = [each["input_shape"] for each in built if each.get("input_shape")]
    shape = config.get("batch_shape") or config.get("batch_input_shape") or next(iter(found), None)
    name = f"{_name(layer)}_input"
    dtype = "float32"
    added = {
        "module": "keras.layers",
        "class_name": "InputLayer",
        "config": {"batch_shape": shape, "dtype": dtype, "name": name},
        "registered_name": None,
        "name": name,
    }
    inner = layers.pop(_name(layer))
    layers[name], layers[_name(layer)] = added, inner
    calls[name, 0] = Call()
    _add_input(added, Ref(name), shapes, dtypes)
    return Ref(name)


def _add_input(
    entry: Entry,
    ref: Ref,
    shapes: dict[Ref, tuple[int | None, ...]],
    dtypes: dict[Ref, str],
) -> None:
    config = entry["config"]
    shape = config.get("batch_shape") or config.get("batch_input_shape")
    if shape is not None:
        shapes[ref] = tuple(shape)
    if isinstance(config.get("dtype"), str):
        dtypes[ref] = config["dtype"]


def _name(entry: Entry) -> str:
    """The name that calls refer to: the entry's own, else its config's."""
    return str(entry.get("name") or entry["config"]["name"])


def _without_calls(entry: Entry) -> Entry:
    return {key: value for key, value in entry.items() if key != "inbound_nodes"}
