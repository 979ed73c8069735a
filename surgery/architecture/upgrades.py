"""Configs of Keras 1 and 2 as Keras 3 takes them, where that says the same.

`docs/old-keras.md` lists what is done; nothing is guessed, and what cannot be upgraded stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Config = dict[str, Any]

_RECURRENT = ("LSTM", "GRU", "SimpleRNN", "RNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D",
              "CuDNNLSTM", "CuDNNGRU")  # fmt: skip
_CONTAINERS = ("Functional", "Model", "Sequential")
_DEPTHWISE = ("DepthwiseConv1D", "DepthwiseConv2D")


@dataclass
class Upgrade:
    """What was changed, and what was not because it cannot be; by layer, in words."""

    done: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def upgraded(config: Mapping[str, Any], keras_version: str) -> tuple[Config, Upgrade]:
    """The config of a model that Keras 1 or 2 wrote, for Keras 3, and what was done to it."""
    notes = Upgrade()
    return _entry(config, keras_version.startswith("1"), notes), notes


def _entry(entry: Mapping[str, Any], is_keras1: bool, notes: Upgrade) -> Config:
    new = _modules(dict(entry), notes)
    config = new.get("config")
    if isinstance(config, list):  # Keras 1's Sequential
        config = {"name": "sequential", "layers": config}
    if not isinstance(config, Mapping):
        return new
    config = dict(config)
    name = str(config.get("name") or new.get("class_name"))
    if isinstance(config.get("layers"), list):
        config["layers"] = [
            _entry(layer, is_keras1, notes) if isinstance(layer, Mapping) else layer
            for layer in config["layers"]
        ]
        _count_nodes_from_0(config, notes)
        if new.get("class_name") == "Sequential":
            _input_first(config, notes)
    for key in ("layer", "cell", "backward_layer"):
        if isinstance(config.get(key), Mapping) and "class_name" in config[key]:
            config[key] = _entry(config[key], is_keras1, notes)
    if is_keras1 and "layers" not in config:
        new["class_name"], config = _keras1(str(new.get("class_name")), name, config, notes)
    _keras2(str(new.get("class_name")), name, config, notes)
    return {**new, "config": config}


def _modules(entry: Config, notes: Upgrade) -> Config:
    """The modules of tf_keras by their names in Keras 3."""
    module = str(entry.get("module") or "")
    if not module.startswith(("tf_keras", "keras.src.engine", "keras.engine")):
        return entry
    class_name = str(entry.get("class_name"))
    places: Config
    if class_name in _CONTAINERS:
        if class_name != "Sequential":
            places = {"module": "keras.src.models.functional", "class_name": "Functional",
                      "registered_name": "Functional"}  # fmt: skip
        else:
            places = {"module": "keras", "registered_name": None}
    else:
        inner = module.removeprefix("tf_keras").removeprefix(".src").strip(".")
        places = {"module": f"keras.{inner.partition('.')[0] or 'layers'}", "registered_name": None}
    if "tf_keras modules are keras's" not in notes.done:
        notes.done.append("tf_keras modules are keras's")
    return {**entry, **places}


def _count_nodes_from_0(config: Config, notes: Upgrade) -> None:
    """Keras 2 counts a nested model's own call as its first; Keras 3 counts from the outer ones.

    Among a model's outputs Keras 3 counts as Keras 2, but for a Sequential.
    """
    for layer in config["layers"]:
        if not isinstance(layer, Mapping) or layer.get("class_name") not in _CONTAINERS:
            continue
        name = layer.get("name") or (layer.get("config") or {}).get("name")
        calls = len(layer.get("inbound_nodes") or ())
        references = list(_references(config, name))
        numbers = {reference[1] for reference in references}
        if calls and numbers and min(numbers) >= 1 and max(numbers) == calls:
            is_sequential = layer["class_name"] == "Sequential"
            outputs = [] if is_sequential else list(_references(config.get("output_layers"), name))
            for reference in references:
                if not any(reference is output for output in outputs):
                    reference[1] -= 1
            notes.done.append(f"{name}: its calls are counted from 0")


def _input_first(config: Config, notes: Upgrade) -> None:
    """The first layer's batch_input_shape as an input of its own."""
    first = config["layers"][0] if config["layers"] else None
    inner = first.get("config") if isinstance(first, Mapping) else None
    if not isinstance(inner, dict) or first is None or first.get("class_name") == "InputLayer":
        return
    shape = inner.pop("batch_input_shape", None)
    if shape is None:
        return
    given = {"name": f"{inner.get('name')}_input", "dtype": inner.get("dtype") or "float32"}
    if first.get("class_name") == "Embedding":
        given["dtype"] = "int32"
    entry = {"class_name": "InputLayer", "config": {**given, "batch_shape": shape}}
    places = {"module": "keras.layers", "registered_name": None} if "module" in first else {}
    config["layers"].insert(0, {**entry, **places})
    notes.done.append(f"{inner.get('name')}: its batch_input_shape is an InputLayer")


def _references(value: Any, name: object) -> Any:
    """All `[layer, node, tensor...]` of that layer, to be changed in place."""
    if isinstance(value, list):
        if len(value) >= 3 and value[0] == name and isinstance(value[1], int):
            yield value
        for item in value:
            yield from _references(item, name)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if key == "layers":
                for layer in item:
                    yield from _references(layer.get("inbound_nodes"), name)
            elif key != "config":
                yield from _references(item, name)


def _keras2(class_name: str, name: str, config: Config, notes: Upgrade) -> None:
    if class_name in _RECURRENT and "time_major" in config:
        if config["time_major"]:
            notes.left.append(f"{name}: time_major: true, which Keras 3 has not")
        else:
            del config["time_major"]
            notes.done.append(f"{name}: time_major: false is left out")
    if class_name in _DEPTHWISE and config.get("groups") == 1:
        del config["groups"]
        notes.done.append(f"{name}: groups: 1 is left out")
    for key in ("activation", "recurrent_activation"):
        if config.get(key) == "hard_sigmoid":
            notes.left.append(
                f"{name}: {key}: hard_sigmoid is another function since Keras 3 (relu6(x + 3) / 6 "
                "for clip(0.2 x + 0.5)), so the outputs differ"
            )
        if config.get(key) == "<lambda>":
            notes.left.append(f"{name}: {key}: <lambda> names no function; Keras 3 refuses it")


_RENAMED: Mapping[str, str] = {
    "init": "kernel_initializer",
    "W_regularizer": "kernel_regularizer",
    "b_regularizer": "bias_regularizer",
    "W_constraint": "kernel_constraint",
    "b_constraint": "bias_constraint",
    "bias": "use_bias",
    "border_mode": "padding",
    "input_dtype": "dtype",
}
"""Keys of Keras 1 that have another name since."""

_OWN: Mapping[str, Mapping[str, str]] = {
    "Dense": {"output_dim": "units"},
    "Dropout": {"p": "rate"},
    "SpatialDropout2D": {"p": "rate"},
    "GaussianDropout": {"p": "rate"},
    "GaussianNoise": {"sigma": "stddev"},
    "Embedding": {"init": "embeddings_initializer", "W_regularizer": "embeddings_regularizer",
                  "W_constraint": "embeddings_constraint"},
    "BatchNormalization": {"beta_init": "beta_initializer", "gamma_init": "gamma_initializer"},
    "Convolution1D": {"nb_filter": "filters", "filter_length": "kernel_size",
                      "subsample_length": "strides"},
    "Convolution2D": {"nb_filter": "filters", "subsample": "strides"},
    "MaxPooling1D": {"pool_length": "pool_size", "stride": "strides"},
    "AveragePooling1D": {"pool_length": "pool_size", "stride": "strides"},
}  # fmt: skip
_AS_THEY_ARE = (
    "Activation", "AveragePooling2D", "ELU", "Flatten", "GlobalAveragePooling1D",
    "GlobalAveragePooling2D", "GlobalMaxPooling1D", "GlobalMaxPooling2D", "InputLayer",
    "LeakyReLU", "MaxPooling2D", "PReLU", "Permute", "RepeatVector", "Reshape", "ThresholdedReLU",
    "UpSampling1D", "UpSampling2D", "ZeroPadding1D", "ZeroPadding2D",
)  # fmt: skip
_CLASSES = {"Convolution1D": "Conv1D", "Convolution2D": "Conv2D"}


def _keras1(class_name: str, name: str, config: Config, notes: Upgrade) -> tuple[str, Config]:
    """A layer of Keras 1 in the words of Keras 2."""
    if class_name not in _OWN and class_name not in _AS_THEY_ARE:
        notes.left.append(f"{name}: {class_name} of Keras 1 is not upgraded")
        return class_name, config
    for reason, is_so in _UNSOUND.items():
        if is_so(config):
            notes.left.append(f"{name}: {reason}")
            return class_name, config
    names = {**_RENAMED, **_OWN.get(class_name, {})}
    new = {names.get(key, key): value for key, value in config.items() if key not in _GONE}
    if class_name == "Convolution2D":
        new["kernel_size"] = [new.pop("nb_row"), new.pop("nb_col")]
    if config.get("dim_ordering") == "tf":
        new["data_format"] = "channels_last"
    if class_name == "Dense" and config.get("input_dim") and "batch_input_shape" not in new:
        new["batch_input_shape"] = [None, config["input_dim"]]
    if class_name != "Embedding":
        new.pop("input_dim", None)
    for key in [key for key in new if key.endswith("_regularizer")]:
        new[key] = _regularizer(new[key])
    notes.done.append(f"{name}: the names of Keras 1")
    return _CLASSES.get(class_name, class_name), new


_GONE = ("mode", "dim_ordering", "input_length", "nb_epoch", "consume_less", "dropout")
_UNSOUND: Mapping[str, Callable[[Config], bool]] = {
    "dim_ordering: th, whose kernels stand in another order": lambda c: (
        c.get("dim_ordering") == "th"
    ),
    "mode, which is gone since Keras 2": lambda c: c.get("mode") not in (None, 0),
    "dropout inside it, which is gone since Keras 2": lambda c: bool(c.get("dropout")),
}


def _regularizer(value: Any) -> Any:
    if not isinstance(value, Mapping) or "class_name" in value:
        return value
    penalties = {key: float(value[key]) for key in ("l1", "l2") if value.get(key)}
    return {"class_name": "L1L2", "config": penalties} if penalties else None
