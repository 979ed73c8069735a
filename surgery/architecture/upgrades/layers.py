"""Keras 2's layers with Keras 3's arguments: renamed, left out, or without an equivalent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from surgery.architecture.entries import class_of
from surgery.architecture.upgrades._notes import Config, Upgrade
from surgery.architecture.upgrades.lambdas import upgraded_lambda
from surgery.architecture.upgrades.objects import as_keras3

_WITHOUT_EQUAL = {
    "LocallyConnected1D", "LocallyConnected2D", "CuDNNLSTM", "CuDNNGRU", "DenseFeatures",
    "RandomFourierFeatures", "RandomHeight", "RandomWidth", "Merge", "TimeDistributedDense",
    "MaxoutDense", "Highway", "TensorFlowOpLayer",
    "RandomCrop",  # it also crops in predict, unlike Keras 3's
}  # fmt: skip
"""Classes of Keras 1 and 2 without an equivalent in Keras 3."""

_CLASSES = {
    "SyncBatchNormalization": "BatchNormalization",
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "ThresholdedReLU": "ReLU",
    "Deconvolution2D": "Conv2DTranspose",
}
"""Classes that were renamed in Keras 3 without an alias."""

OLD_CLASSES = _WITHOUT_EQUAL | set(_CLASSES)
"""Classes of Keras 1 and 2 that Keras 3 does not have under that name."""

_KEYS: Mapping[str, Mapping[str, str]] = {
    "LeakyReLU": {"alpha": "negative_slope"},
    "ThresholdedReLU": {"theta": "threshold"},
    "InputLayer": {"batch_input_shape": "batch_shape"},
}
"""Arguments that were renamed in Keras 3, by Keras 2's class."""

_ANY = object()
RECURRENT = ("LSTM", "GRU", "SimpleRNN", "RNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
_SPATIAL = ("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D")
_TRANSPOSED = ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
_IN_TWO = ("DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D")
_KERNELS = {"kernel_initializer": _ANY, "kernel_regularizer": _ANY, "kernel_constraint": _ANY}

_GONE_EVERYWHERE: Mapping[str, Any] = {
    "dynamic": False, "rng_type": _ANY, "force_generator": _ANY, "batch_input_shape": _ANY,
    "input_shape": _ANY,
}  # fmt: skip
_GONE: Mapping[str, Mapping[str, Any]] = {
    **{name: {"time_major": False, "input_dim": _ANY, "input_length": _ANY} for name in RECURRENT},
    **{name: {"groups": 1} for name in _TRANSPOSED},
    **{name: {"groups": 1, **_KERNELS} for name in _IN_TWO},
    **{name: {"trainable": _ANY, "noise_shape": _ANY} for name in _SPATIAL},
    "Discretization": {"trainable": _ANY},
    "MultiHeadAttention": {"query_shape": _ANY, "key_shape": _ANY, "value_shape": _ANY,
                           "softmax_robust_masking": False},
    "Softmax": {"robust_masking": False},
    "Attention": {"causal": False},
    "AdditiveAttention": {"causal": False},
    "BatchNormalization": {"fused": _ANY, "virtual_batch_size": None, "adjustment": None},
    "Embedding": {"input_length": _ANY, "sparse": _ANY},
    "InputLayer": {"ragged": False, "type_spec": None, "input_spec": None},
    "StringLookup": {"has_input_vocabulary": _ANY},
    "IntegerLookup": {"has_input_vocabulary": _ANY, "max_values": _ANY},
    "TextVectorization": {"has_input_vocabulary": _ANY},
    "CategoryEncoding": {"max_tokens": None},
    "AlphaDropout": {"noise_shape": None},
}  # fmt: skip
"""Arguments that Keras 3 lacks, with the value that may be dropped; `_ANY`: any may be."""

_RENORM = ("renorm", "renorm_clipping", "renorm_momentum")


def upgraded_layer(
    class_name: str, name: str, config: Config, notes: Upgrade
) -> tuple[str, Config]:
    """Return the class and arguments in Keras 3 of a layer of Keras 2."""
    if class_name in _WITHOUT_EQUAL:
        notes.refused.append(f"{name}: {class_name} has no equal in Keras 3")
        return class_name, config
    if class_name == "Lambda":
        config = upgraded_lambda(config)
    new = {key: as_keras3(value) for key, value in config.items()}
    modern = _CLASSES.get(class_name) or class_of({"class_name": class_name})
    for old_key, key in _KEYS.get(class_name, {}).items():
        if old_key in new:
            new[key] = new.pop(old_key)
            notes.done.append(f"{name}: {old_key} is {key}")
    if modern != class_name:
        notes.done.append(f"{name}: {class_name} is {modern}")
    if class_name == "SyncBatchNormalization":
        new["synchronized"] = True
    _leave_out(modern, name, new, notes)
    _one_axis(modern, name, new, notes)
    for key in ("activation", "recurrent_activation"):
        if new.get(key) == "<lambda>":
            notes.refused.append(f"{name}: {key}: <lambda> names no function")
    return modern, new


def _leave_out(class_name: str, name: str, config: Config, notes: Upgrade) -> None:
    if not config.get("renorm"):
        for key in _RENORM:
            config.pop(key, None)
    for key, nothing in {**_GONE_EVERYWHERE, **_GONE.get(class_name, {})}.items():
        if key not in config:
            continue
        value = config[key]
        if nothing is not _ANY and value != nothing:
            notes.refused.append(f"{name}: {key}: {value!r} has no equal in Keras 3's {class_name}")
            continue
        del config[key]
        shown = "" if nothing is _ANY else f": {str(value).lower()}"
        notes.done.append(f"{name}: {key}{shown} is left out")


def _one_axis(class_name: str, name: str, config: Config, notes: Upgrade) -> None:
    """Replace a normalisation's list of axes, Keras 2's form, by one axis."""
    axis = config.get("axis")
    if class_name not in ("BatchNormalization", "LayerNormalization") or not isinstance(axis, list):
        return
    if len(axis) == 1:
        config["axis"] = axis[0]
        notes.done.append(f"{name}: axis: {axis} is {axis[0]}")
    elif class_name == "BatchNormalization":
        notes.refused.append(f"{name}: Keras 3's BatchNormalization takes one axis, not {axis}")
