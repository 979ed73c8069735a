"""Layers of Keras 1 with the names of Keras 2, where Keras 2 has an equivalent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from surgery.architecture.upgrades._notes import Config, Upgrade

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
"""Keys of Keras 1 that were renamed in Keras 2."""

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


def keras1_layer(class_name: str, name: str, config: Config, notes: Upgrade) -> tuple[str, Config]:
    """Convert a layer of Keras 1 to the class and keys of Keras 2."""
    if class_name not in _OWN and class_name not in _AS_THEY_ARE:
        notes.refused.append(f"{name}: {class_name} of Keras 1 is not upgraded")
        return class_name, config
    for reason, is_so in _UNSOUND.items():
        if is_so(config):
            notes.refused.append(f"{name}: {reason}")
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
