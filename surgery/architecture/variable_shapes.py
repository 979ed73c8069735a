"""The shapes of a layer's variables, as far as its config determines them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from surgery.architecture.variables import Config, quantization_mode

Pattern = tuple[int | None, ...]
"""A shape in which None matches any size."""


def shape_pattern(class_name: str, config: Config, variable: str) -> Pattern | None:
    """Return the shape pattern of a layer's variable; None if the config does not give its rank.

    It is None for quantised layers too, whose kernels are packed.
    """
    find = _PATTERNS.get(re.sub(r"\dD", "", class_name))
    if find is None or quantization_mode(config) is not None:
        return None
    try:
        return find(class_name, config).get(variable)
    except (KeyError, TypeError, ValueError):
        return None


def fits(shape: Sequence[int], pattern: Pattern | None) -> bool:
    """Return whether a shape matches a pattern; the pattern None matches all shapes."""
    if pattern is None:
        return True
    return len(shape) == len(pattern) and all(
        wanted in (None, size) for size, wanted in zip(shape, pattern, strict=True)
    )


def _window(class_name: str, config: Config) -> Pattern:
    """Return the spatial size of a kernel; raises ValueError for a malformed `kernel_size`."""
    size = config["kernel_size"]
    match = re.search(r"(\d)D", class_name)
    rank = int(match[1]) if match else len(size)
    window = tuple(size) if isinstance(size, list | tuple) else (size,) * rank
    if len(window) != rank or not all(isinstance(side, int) for side in window):
        raise ValueError(size)
    return window


def _dense(_class_name: str, config: Config) -> Mapping[str, Pattern]:
    return {"kernel": (None, config["units"]), "bias": (config["units"],)}


def _conv(class_name: str, config: Config) -> Mapping[str, Pattern]:
    filters = config["filters"]
    return {"kernel": (*_window(class_name, config), None, filters), "bias": (filters,)}


def _transposed(class_name: str, config: Config) -> Mapping[str, Pattern]:
    filters = config["filters"]
    return {"kernel": (*_window(class_name, config), filters, None), "bias": (filters,)}


def _depthwise(class_name: str, config: Config) -> Mapping[str, Pattern]:
    return {"kernel": (*_window(class_name, config), None, config["depth_multiplier"])}


def _separable(class_name: str, config: Config) -> Mapping[str, Pattern]:
    window, filters = _window(class_name, config), config["filters"]
    return {
        "depthwise_kernel": (*window, None, config["depth_multiplier"]),
        "pointwise_kernel": (*(1 for _ in window), None, filters),
        "bias": (filters,),
    }


def _embedding(_class_name: str, config: Config) -> Mapping[str, Pattern]:
    return {"embeddings": (config["input_dim"], config["output_dim"])}


def _cell(gates: int) -> Callable[[str, Config], Mapping[str, Pattern]]:
    def find(_class_name: str, config: Config) -> Mapping[str, Pattern]:
        units = config["units"]
        return {
            "kernel": (None, gates * units),
            "recurrent_kernel": (units, gates * units),
            **({"bias": (gates * units,)} if gates != 3 else {}),  # a GRU's may have two rows
        }

    return find


_PATTERNS: Mapping[str, Callable[[str, Config], Mapping[str, Pattern]]] = {
    "Dense": _dense,
    "Conv": _conv,
    "ConvTranspose": _transposed,
    "DepthwiseConv": _depthwise,
    "SeparableConv": _separable,
    "Embedding": _embedding,
    "LSTMCell": _cell(4),
    "GRUCell": _cell(3),
    "SimpleRNNCell": _cell(1),
}
"""The function for each class name without its number of dimensions (Conv2D)."""
