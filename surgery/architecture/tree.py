"""Keras's config of a model as a tree of layers: names, addresses, and where Keras stores what."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from surgery.architecture.checking import check_types
from surgery.architecture.variables import (
    WITHOUT_VARIABLES,
    Config,
    VariableSpec,
    known_classes,
    own_variables,
)

Keys = tuple[str | int, ...]

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
_MODULES_OF_KERAS = ("keras", "tf_keras", "keras_core", "tensorflow")
_OPERATIONS = ("keras.ops", "keras.src.ops")


@dataclass(frozen=True)
class LayerVariable:
    """A variable of a layer, and the place Keras 3 stores it at.

    `trainable` is the variable's own: whether an unfrozen layer trains it. `position` is its
    place among the layer's own in `layer.weights`.
    """

    name: str
    trainable: bool
    address: str
    stored: str
    position: int


@dataclass(frozen=True)
class Layer:
    """A layer (or the model itself, whose address is empty) as Keras builds it from its config.

    `group` is its place in a Keras 3 weights file; `keys` leads from the model's config to
    this layer's own, or is None for a layer that Keras makes itself, such as a cell.
    `variables` is None for a class that is not Keras's own. `trainable` says whether Keras
    trains its variables after loading. `repeat` marks another use of a shared layer.
    """

    name: str
    class_name: str
    address: str
    group: str
    config: Config
    keys: Keys | None
    variables: tuple[LayerVariable, ...] | None
    children: tuple[Layer, ...] = ()
    trainable: bool = True
    forgets_freeze: bool = False
    repeat: bool = False

    def owns(self, address: str) -> bool:
        """Whether a weight of that address is its own or that of a layer inside it."""
        return address.startswith(f"{self.address}/") or not self.address

    def walk(self) -> Iterator[Layer]:
        """This layer and all below it, owners first, each shared layer once."""
        if self.repeat:
            return
        yield self
        for child in self.children:
            yield from child.walk()

    def weights(self) -> Iterator[tuple[Layer, LayerVariable]]:
        """Its variables in the order of Keras's `layer.weights`, each with its owner."""
        for variable in sorted(self.variables or (), key=lambda variable: variable.position):
            yield self, variable
        for child in self.children:
            yield from child.weights()


@dataclass(frozen=True)
class Architecture:
    """A model's config, as Keras serialises it; never changed in place."""

    config: Mapping[str, Any]
    shares_layers: bool = True

    @cached_property
    def root(self) -> Layer:
        """The model as a tree of layers; raises ConfigError where it is none."""
        check_types(self.config)
        return _Builder(self.shares_layers).model(self.config)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Every layer but the model itself, in layer order."""
        return tuple(self.root.walk())[1:]

    @cached_property
    def weight_order(self) -> Mapping[str, int]:
        """The place of each known weight in Keras's `model.weights`."""
        addresses = dict.fromkeys(variable.address for _, variable in self.root.weights())
        return {address: place for place, address in enumerate(addresses)}

    @cached_property
    def by_address(self) -> Mapping[str, Layer]:
        """The layers by their addresses; the model itself has the empty one."""
        return {layer.address: layer for layer in self.root.walk()}

    def owner(self, address: str) -> Layer:
        """The innermost layer that has a weight of that address."""
        while address and address not in self.by_address:
            address = address.rpartition("/")[0]
        return self.by_address.get(address, self.root)

    def configured_owner(self, address: str) -> Layer:
        """The innermost layer with a config of its own: for a cell's weight, the RNN layer."""
        owner = self.owner(address)
        while owner.keys is None:
            owner = self.owner(owner.address.rpartition("/")[0])
        return owner

    def is_trained(self, address: str, variable_trains: bool) -> bool | None:
        """Whether a weight is in the `trainable_weights` of the model that Keras loads.

        None where that is for a custom class to say.
        """
        owner = self.owner(address)
        if not (self.root.trainable and variable_trains and owner.trainable):
            return False
        return None if owner.variables is None else True

    @property
    def is_graph(self) -> bool:
        """True where the config lists the model's layers (functional or Sequential)."""
        return _layer_entries(self.config) is not None


def snake_case(class_name: str) -> str:
    """Keras's name for a group of that class: `BatchNormalization` -> `batch_normalization`."""
    name = re.sub(r"\W+", "", class_name.rpartition(">")[2])
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def class_of(entry: Mapping[str, Any]) -> str:
    """The class a layer's config names, with its package where Keras has one of that name."""
    stored = str(entry.get("class_name", ""))
    name = stored.rpartition(">")[2]
    module = str(entry.get("module") or "keras").partition(".")[0]
    package = str(entry.get("registered_name") or stored).rpartition(">")[0]
    if is_of_keras(name) and (package or module not in _MODULES_OF_KERAS):
        return f"{package or module}>{name}"
    if name == "Model" and _layer_entries(entry) is not None:
        return "Functional"
    if name == "GroupQueryAttention":  # what Keras calls the class to the outside
        return "GroupedQueryAttention"
    # Older names, which Keras 3 keeps as aliases: Convolution2D, GlobalAvgPool2D, MaxPool2D.
    name = name.replace("Convolution", "Conv").replace("AvgPool", "AveragePool")
    return re.sub(r"Pool(?=\dD$)", "Pooling", name)


def is_of_keras(class_name: str) -> bool:
    """Whether it is a layer class of Keras (1 to 3) itself."""
    return class_name in WITHOUT_VARIABLES or class_name in known_classes()


def is_operation(entry: Mapping[str, Any]) -> bool:
    """Whether an entry in a model's list is an operation of Keras 3, such as `x * 2`."""
    return str(entry.get("module") or "").startswith(_OPERATIONS)


def join(*parts: str) -> str:
    """The parts that are not empty, with `/` between them."""
    return "/".join(part for part in parts if part)


def at(config: Any, keys: Keys) -> Any:
    """The part of a config that those keys lead to."""
    for key in keys:
        config = config[key]
    return config


def _layer_entries(entry: Mapping[str, Any]) -> Sequence[Any] | None:
    config = entry.get("config")
    layers = config if isinstance(config, list) else None  # Keras 1's Sequential
    if isinstance(config, Mapping):
        layers = config.get("layers")
    if isinstance(layers, list) and all(
        isinstance(x, Mapping) and "class_name" in x for x in layers
    ):
        return layers
    return None


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
        """The name, numbered where its address is taken: Keras lets cells share a name."""
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
        if (entries := _layer_entries(entry)) is not None and class_name not in _ATTENTIONS:
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
        """The layers of a list, whose groups Keras numbers by class."""
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
    """Keras 2 names the backward layer after the layer it was given, not after the forward one."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("config"), Mapping):
        return entry
    name = str(entry["config"].get("name") or "").removeprefix("forward_")
    return {**entry, "config": {**entry["config"], "name": name}}


def _implicit(
    class_name: str, name: str, config: Config, parent: str, group: str, trainable: bool
) -> Layer:
    """A sublayer that Keras makes itself from its owner's config."""
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
    """The config of an attention's EinsumDense, of which only the kernel's axes are told.

    b is the batch; m are features, h heads and k what each of them has.
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
    """The address; SpectralNormalization's kernel is the wrapped layer's."""
    if class_name == "SpectralNormalization" and variable.name == "kernel":
        for child in children:
            for held in child.variables or ():
                if held.name in ("kernel", "embeddings"):
                    return held.address
    return join(address, variable.name)
