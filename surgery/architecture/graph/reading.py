"""Reads a graph from a model's config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from surgery.architecture.checking import ConfigError
from surgery.architecture.entries import layer_entries
from surgery.architecture.graph.model import Call, CallKey, Entry, Graph, Ref, refs

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
    """Return the graph of a functional or Sequential model.

    Models inside it stay entries, which have graphs of their own. Raises ValueError for another
    model, and ConfigError for a graph that Keras does not write.
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
        layers = _by_name(config["layers"])
        calls: dict[CallKey, Call] = {}
        for entry in config["layers"]:
            name = name_of(entry)
            if entry["class_name"] == "InputLayer":
                calls[name, 0] = Call()
                _add_input(entry, Ref(name), self.shapes, self.dtypes)
            for number, node in enumerate(entry.get("inbound_nodes") or ()):
                calls[name, number] = self.call(node, name)
                if not calls[name, number].refs():
                    raise ConfigError(f"{name} is called on nothing")
        own = {name for name, entry in layers.items() if counts_itself(entry)}
        inputs, outputs = (
            _ends(config.get(key), own, key) for key in ("input_layers", "output_layers")
        )
        _check_inputs(inputs, layers)
        for name, tensors in _given(calls, outputs):
            for ref in tensors:
                if ref.key not in calls:
                    raise ConfigError(f"{name} is given the output of {ref}, which is not called")
        return Graph(self.entry, layers, calls, inputs, outputs, self.shapes, self.dtypes)

    def call(self, node: Any, layer: str) -> Call:
        """Return the arguments in one of a layer's nodes."""
        if isinstance(node, Mapping):
            args, kwargs = (self.decoded(node.get(key), layer) for key in ("args", "kwargs"))
            if not isinstance(args, list) or not isinstance(kwargs, Mapping):
                raise ConfigError(f"a call of {layer} has no list of args and mapping of kwargs")
            return Call(args, kwargs)
        # Keras 1 and 2: [[layer, call, tensor, keyword arguments], ...], of one tensor or several.
        if not (isinstance(node, list) and node and all(isinstance(each, list) for each in node)):
            raise ConfigError(f"a call of {layer} is {node!r:.40}, not a list of tensors")
        tensors = [_ref(item[:3], layer) for item in node]
        more = [item[3] for item in node if len(item) > 3]
        if not all(isinstance(each, Mapping) for each in more):
            raise ConfigError(f"a call of {layer} has arguments that are no mapping")
        kwargs = {key: value for each in more for key, value in each.items()}
        args = [tensors[0] if len(tensors) == 1 else tensors]
        return Call(args, self.decoded(kwargs, layer))

    def decoded(self, value: Any, layer: str) -> Any:
        """Return arguments of a layer with a Ref in place of each tensor."""
        if isinstance(value, Mapping):
            if value.get("class_name") == _TENSOR:
                return self.tensor(value.get("config"), layer)
            return {key: self.decoded(inner, layer) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.decoded(inner, layer) for inner in value]
        return value

    def tensor(self, config: Any, layer: str) -> Ref:
        """Return a tensor that a layer is given."""
        if not isinstance(config, Mapping):
            raise ConfigError(f"a tensor that {layer} is given has no config")
        ref = _ref(config.get("keras_history"), layer)
        shape, dtype = config.get("shape"), config.get("dtype")
        if shape is not None:
            self.shapes[ref] = _shape(shape, layer)
        if not isinstance(dtype, str):
            raise ConfigError(f"the dtype of a tensor that {layer} is given is {dtype!r:.40}")
        self.dtypes[ref] = dtype
        return ref


def _by_name(entries: Any) -> dict[str, Entry]:
    """Return the entries of layers by name, without their calls."""
    layers = {name_of(entry): _without_calls(entry) for entry in entries}
    if len(layers) < len(entries):
        names = [name_of(entry) for entry in entries]
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"two layers are called {twice}")
    return layers


def _check_inputs(inputs: Any, layers: Mapping[str, Entry]) -> None:
    """Raise ConfigError where a model's inputs are no input layers."""
    for ref in refs(inputs):
        if ref.layer not in layers or layers[ref.layer]["class_name"] != "InputLayer":
            raise ConfigError(f"the input {ref.layer} is no InputLayer of the model")
        if ref.call or ref.tensor:
            raise ConfigError(f"the input {ref} is not the only output of its layer")


def _given(calls: Mapping[CallKey, Call], outputs: Any) -> Iterator[tuple[str, list[Ref]]]:
    """Yield what each call, and the model's end, is given."""
    yield "the end of the model", refs(outputs)
    for (name, _), call in calls.items():
        yield name, call.refs()


def _ref(value: Any, layer: str) -> Ref:
    """Return the tensor that a list of layer, call and number names."""
    if not (isinstance(value, list | tuple) and len(value) == 3 and isinstance(value[0], str)):
        raise ConfigError(f"{layer} is given {value!r:.40}, not [layer, call, tensor]")
    name, call, tensor = value
    if not all(type(number) is int and number >= 0 for number in (call, tensor)):
        raise ConfigError(f"{layer} is given {value!r:.40}, whose numbers are not from 0 on")
    return Ref(name, call, tensor)


def _shape(value: Any, layer: str) -> tuple[int | None, ...]:
    """Return a shape; None stands for a size that is not fixed."""
    if not isinstance(value, list | tuple) or not all(
        size is None or (type(size) is int and size >= 0) for size in value
    ):
        raise ConfigError(f"{layer} has {value!r:.40} for a shape")
    return tuple(value)


def _ends(value: Any, own: set[str], key: str) -> Any:
    """Return a model's inputs or outputs as Refs."""
    if isinstance(value, list | tuple) and len(value) == 3 and isinstance(value[0], str):
        name, call, tensor = value
        if type(call) is int:
            call -= name in own
        return _ref([name, call, tensor], key)
    if isinstance(value, Mapping) and value:
        return {name: _ends(inner, own, key) for name, inner in value.items()}
    if isinstance(value, list | tuple) and value:
        return [_ends(inner, own, key) for inner in value]
    raise ConfigError(f"{key} is {value!r:.40}, not a structure of [layer, call, tensor]")


def _sequential(entry: Entry) -> Graph:
    """Return the chain of a Sequential model; its input may have no InputLayer of its own."""
    layers: dict[str, Entry] = {}
    calls: dict[CallKey, Call] = {}
    shapes: dict[Ref, tuple[int | None, ...]] = {}
    dtypes: dict[Ref, str] = {}
    last: Ref | None = None
    _by_name(layer_entries(entry) or ())
    for layer in layer_entries(entry) or ():
        name = name_of(layer)
        layers[name] = {**layer, "name": name}
        ref = Ref(name)
        if layer["class_name"] == "InputLayer":
            calls[name, 0] = Call()
            _add_input(layer, ref, shapes, dtypes)
        else:
            last = last or _implied_input(entry, layer, layers, calls, shapes, dtypes)
            if (built := _built_for(layer)) is not None:
                shapes.setdefault(last, built)
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
    found = [list(built) for each in (entry, layer) if (built := _built_for(each))]
    shape = config.get("batch_shape") or config.get("batch_input_shape") or next(iter(found), None)
    name = f"{name_of(layer)}_input"
    dtype = "float32"
    added = {
        "module": "keras.layers",
        "class_name": "InputLayer",
        "config": {"batch_shape": shape, "dtype": dtype, "name": name},
        "registered_name": None,
        "name": name,
    }
    inner = layers.pop(name_of(layer))
    layers[name], layers[name_of(layer)] = added, inner
    calls[name, 0] = Call()
    _add_input(added, Ref(name), shapes, dtypes)
    return Ref(name)


def _built_for(entry: Entry) -> tuple[int | None, ...] | None:
    """Return the shape of the one input that a layer was built for, if its config says so."""
    built = entry.get("build_config")
    shape = built.get("input_shape") if isinstance(built, Mapping) else None
    if not isinstance(shape, list) or not all(n is None or isinstance(n, int) for n in shape):
        return None
    return tuple(shape)


def _add_input(
    entry: Entry,
    ref: Ref,
    shapes: dict[Ref, tuple[int | None, ...]],
    dtypes: dict[Ref, str],
) -> None:
    config = entry["config"]
    shape = config.get("batch_shape") or config.get("batch_input_shape")
    if shape is not None:
        shapes[ref] = _shape(shape, ref.layer)
    if isinstance(config.get("dtype"), str):
        dtypes[ref] = config["dtype"]


def name_of(entry: Entry) -> str:
    """Return the name that calls refer to: the entry's own, else its config's."""
    config = entry.get("config")
    if not isinstance(config, Mapping):
        raise ConfigError(f"a {entry['class_name']} has no config")
    own = config.get("name")
    name = entry.get("name") or own
    if not isinstance(name, str):
        raise ConfigError(f"a {entry['class_name']} has no name")
    if own is not None and own != name:
        raise ConfigError(f"a layer is called both {name} and {own}")
    return name


def _without_calls(entry: Entry) -> Entry:
    return {key: value for key, value in entry.items() if key != "inbound_nodes"}
