"""The input shape of a Sequential of Keras 1 or 2, converted to an InputLayer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from surgery.architecture.upgrades._notes import Config, Upgrade

_CHANNELS = {"Conv1D": 3, "Conv2D": 4, "Conv3D": 5, "Dense": 2, "LSTM": 3, "GRU": 3, "SimpleRNN": 3}
"""Rank of the input of layers whose kernel has the input channels on its second last axis."""


def with_input(config: Config, kernel: Sequence[int] | None, notes: Upgrade) -> None:
    """Insert an InputLayer before the first layer of a Sequential, if its shape is known.

    The shape is the first layer's own, the one that the model was built with, or (only its
    channels) that of the first layer's kernel.
    """
    layers = config["layers"]
    first = layers[0] if layers else None
    inner = first.get("config") if isinstance(first, Mapping) else None
    if not isinstance(inner, dict) or first is None or first.get("class_name") == "InputLayer":
        config.pop("build_input_shape", None)
        return
    named = "batch_input_shape" if inner.get("batch_input_shape") else "build_input_shape"
    shape = inner.pop("batch_input_shape", None) or config.pop("build_input_shape", None)
    if shape is None and first.get("class_name") == "Embedding":
        shape, named = [None, inner.get("input_length")], "input_length"
    if shape is None:
        shape, named = _of_kernel(first, inner, kernel), "kernel"
    if not isinstance(shape, list) or not all(size is None or type(size) is int for size in shape):
        return
    dtype = "int32" if first.get("class_name") == "Embedding" else _dtype(inner)
    given = {"name": f"{inner.get('name')}_input", "dtype": dtype, "batch_input_shape": shape}
    layers.insert(0, {"class_name": "InputLayer", "config": given})
    notes.done.append(f"{inner.get('name')}: its {named} is an InputLayer")


def _dtype(config: Mapping[str, Any]) -> Any:
    dtype = config.get("dtype")
    return dtype if isinstance(dtype, str) and not dtype.startswith("mixed") else "float32"


def _of_kernel(
    first: Mapping[str, Any], config: Mapping[str, Any], kernel: Sequence[int] | None
) -> list[int | None] | None:
    rank = _CHANNELS.get(str(first.get("class_name")))
    if kernel is None or rank is None or config.get("data_format") == "channels_first":
        return None
    return [*[None] * (rank - 1), kernel[-2] * int(config.get("groups") or 1)]
