"""Construction of the layer tree from a config: names, addresses, and Keras 3's storage paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from surgery.architecture.checking import check_types
from surgery.architecture.entries import (
    Keys,
    class_of,
    is_operation,
    join,
    layer_entries,
    snake_case,
)
from surgery.architecture.layer import Layer, LayerVariable
from surgery.architecture.variables import WITHOUT_VARIABLES, Config, VariableSpec, own_variables

_CELLS = {
    "LSTM": ("LSTMCell", "lstm_cell"),
    "GRU": ("GRUCell", "gru_cell"),
    "SimpleRNN": ("SimpleRNNCell", "simple_rnn_cell"),
    "ConvLSTM1D": ("ConvLSTMCell", "conv_lstm_cell"),
    "ConvLSTM2D": ("ConvLSTMCell", "conv_lstm_cell"),
    "ConvLSTM3D": ("ConvLSTMCell", "conv_lstm_cell"),
    "CuDNNLSTM": ("LSTMCell", "lstm_cell"),
    "CuDNNGRU": ("GRUCell", "gru_cell"),
}
# Attribute in the store, name; in the order Keras creates them.
_PROJECTIONS = (
    ("query_dense", "query"),
    ("key_dense", "key"),
    ("_gate_dense", "gate"),
    ("value_dense", "value"),
    ("output_dense", "attention_output"),
)
_ATTENTIONS = {
    "MultiHeadAttention": ("query_dense", "key_dense", "value_dense", "output_dense"),
    # This one has no public properties, so Keras stores its private attributes.
    "GroupedQueryAttention": ("_query_dense", "_key_dense", "_value_dense", "_output_dense"),
}


def tree_of(config: Mapping[str, Any], shares_layers: bool) -> Layer:
    """Return the layer tree of a model's config; raises ConfigError if it is malformed.

    With `shares_layers`, entries with the same `shared_object_id` are one layer.
    """
    check_types(config)
    return _Builder(shares_layers).model(config)


class _Builder:
    def __init__(self, shares_layers: bool) -> None:
        self.shares_layers = shares_layers
        self.shared: dict[object, tuple[str, str]] = {}
        self.taken: set[str] = set()

    def model(self, config: Mapping[str, Any]) -> Layer:
        return self.layer(config, (), "", "", name="")

    def layer(
        self,
        entry: Mapping[str, Any],
        keys: Keys,
        parent: str,
        group: str,
        name: str | None = None,
    ) -> Layer:
        config = entry.get("config")
        config = config if isinstance(config, Mapping) else {}
        class_name = class_of(entry)
        if name is None:
            name = str(config.get("name") or entry.get("name") or snake_case(class_name))
        shared_id = entry.get("shared_object_id") if self.shares_layers else None
        repeat = shared_id is not None and shared_id in self.shared
        if repeat:
            name, address = self.shared[shared_id]
        else:
            name = self.free_name(parent, name)
            address = join(parent, name)
        if shared_id is not None:
            self.shared[shared_id] = name, address
        trainable = bool(config.get("trainable", True)) or class_name == "Sequential"
        children = self.children(class_name, entry, keys, address, group, trainable)
        return Layer(
            name=name,
            class_name=class_name,
            address=address,
            group=group,
            config=config,
            keys=(*keys, "config"),
            variables=_layer_variables(class_name, config, address, group, children),
            children=children,
            trainable=trainable,
            forgets_freeze=class_name in _ATTENTIONS,
            repeat=repeat,
        )

    def free_name(self, parent: str, name: str) -> str:
        """Return the name, with a number appended if it is taken: Keras lets cells share one."""
        number, free = 0, name
        while join(parent, free) in self.taken:
            number += 1
            free = f"{name}_{number}"
        self.taken.add(join(parent, free))
        return free

    def children(
        self,
        class_name: str,
        entry: Mapping[str, Any],
        keys: Keys,
        address: str,
        group: str,
        trainable: bool,
    ) -> tuple[Layer, ...]:
        config = entry.get("config") or {}
        if (entries := layer_entries(entry)) is not None and class_name not in _ATTENTIONS:
            inner: Keys = (
                (*keys, "config") if isinstance(config, list) else (*keys, "config", "layers")
            )
            return self.container(class_name, entries, inner, address, group)
        if class_name in _CELLS:
            return (
                _implicit(*_CELLS[class_name], config, address, join(group, "cell"), trainable),
            )
        if class_name in _ATTENTIONS:
            return tuple(_projections(class_name, config, address, group))
        if class_name in ("RNN", "TimeDistributed", "SpectralNormalization"):
            key = "cell" if class_name == "RNN" else "layer"
            return self.wrapped(config, key, key, keys, address, group)
        if class_name == "StackedRNNCells":
            cells = config.get("cells")
            if isinstance(cells, list) and all(isinstance(cell, Mapping) for cell in cells):
                return self.numbered(
                    cells, (*keys, "config", "cells"), address, join(group, "cells")
                )
        if class_name == "Bidirectional":
            return self.bidirectional(config, keys, address, group)
        return ()

    def container(
        self, class_name: str, entries: Sequence[Any], keys: Keys, address: str, group: str
    ) -> tuple[Layer, ...]:
        is_input = [class_of(entry) == "InputLayer" for entry in entries]
        skipped = is_input if class_name == "Sequential" else [False] * len(entries)
        kept = [
            None if skip or is_operation(entry) else entry
            for entry, skip in zip(entries, skipped, strict=True)
        ]
        return self.numbered(kept, keys, address, join(group, "layers"))

    def numbered(
        self, entries: Sequence[Any], keys: Keys, address: str, group: str
    ) -> tuple[Layer, ...]:
        """Return the layers of a list; Keras numbers their groups by class."""
        used: dict[str, int] = {}
        layers: list[Layer] = []
        for index, entry in enumerate(entries):
            if entry is None:
                continue
            name = snake_case(class_of(entry))
            number = used[name] = used.get(name, -1) + 1
            numbered = f"{name}_{number}" if number else name
            layers.append(self.layer(entry, (*keys, index), address, join(group, numbered)))
        return tuple(layers)

    def wrapped(
        self,
        config: Config,
        key: str,
        attribute: str,
        keys: Keys,
        address: str,
        group: str,
        prefix: str = "",
    ) -> tuple[Layer, ...]:
        entry = config.get(key)
        if not isinstance(entry, Mapping) or "class_name" not in entry:
            return ()
        name = None
        if prefix:
            inner = entry.get("config") or {}
            name = prefix + str(inner.get("name") or "").removeprefix(prefix)
        layer = self.layer(entry, (*keys, "config", key), address, join(group, attribute), name)
        return (layer,)

    def bidirectional(
        self, config: Config, keys: Keys, address: str, group: str
    ) -> tuple[Layer, ...]:
        forward = self.wrapped(config, "layer", "forward_layer", keys, address, group, "forward_")
        if isinstance(config.get("backward_layer"), Mapping):
            key, prefix = "backward_layer", ""
        else:
            key, prefix = "layer", "backward_"
            config = {"layer": _named_after_forward(config.get("layer"))}
        return forward + self.wrapped(config, key, "backward_layer", keys, address, group, prefix)


def _named_after_forward(entry: Any) -> Any:
    """Return a Bidirectional's layer entry with the name that Keras 2 bases the backward name on.

    Keras 2 names the backward layer after the given layer, not after the forward one.
    """
    if not isinstance(entry, Mapping) or not isinstance(entry.get("config"), Mapping):
        return entry
    name = str(entry["config"].get("name") or "").removeprefix("forward_")
    return {**entry, "config": {**entry["config"], "name": name}}


def _implicit(
    class_name: str, name: str, config: Config, parent: str, group: str, trainable: bool
) -> Layer:
    """Return a sublayer that Keras creates itself from its owner's config, as an RNN's cell."""
    address = join(parent, name)
    variables = _layer_variables(class_name, config, address, group, ())
    return Layer(name, class_name, address, group, config, None, variables, (), trainable)


def _projections(class_name: str, config: Config, address: str, group: str) -> Iterator[Layer]:
    for attribute, name in _PROJECTIONS:
        if name == "gate" and not config.get("use_gate"):
            continue
        private = "_" + attribute
        stored = private if private in _ATTENTIONS[class_name] else attribute
        inner = {**_projection(name, config), "dtype": config.get("dtype")}
        yield _implicit("EinsumDense", name, inner, address, join(group, stored), True)


def _projection(name: str, config: Config) -> Config:
    """Return the config of an attention's EinsumDense: only its equation and bias axes.

    In the equation, b is the batch, m the features, h the heads, and k the size of a head.
    """
    outputs = "hk"
    equation = f"bm,m{outputs}->b{outputs}"
    if name == "attention_output":
        shape = config.get("output_shape")
        outputs = "mnopqr"[: len(shape) if isinstance(shape, list | tuple) else 1]
        equation = f"bhk,hk{outputs}->b{outputs}"
    return {"equation": equation, "bias_axes": outputs if config.get("use_bias", True) else None}


def _layer_variables(
    class_name: str, config: Config, address: str, group: str, children: Sequence[Layer]
) -> tuple[LayerVariable, ...] | None:
    variables = own_variables(class_name, config)
    if variables is None:
        return () if class_name in WITHOUT_VARIABLES or children else None
    return tuple(
        LayerVariable(
            variable.name,
            variable.trainable,
            _owned(class_name, variable, address, children),
            join(group, f"vars/{number}"),
            variable.position,
        )
        for number, variable in enumerate(variables)
    )


def _owned(class_name: str, variable: VariableSpec, address: str, children: Sequence[Layer]) -> str:
    """Return a variable's address; SpectralNormalization's kernel is the wrapped layer's."""
    if class_name == "SpectralNormalization" and variable.name == "kernel":
        for child in children:
            for held in child.variables or ():
                if held.name in ("kernel", "embeddings"):
                    return held.address
    return join(address, variable.name)
