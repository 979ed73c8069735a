"""The input, output and spatial axes of a layer's variable."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from surgery.architecture.variables import Config, known_classes


@dataclass(frozen=True)
class Axes:
    """The axes of a variable, by index.

    Attributes:
       inputs: the axes of the layer's inputs.
       outputs: the axes of its units, filters or features; for a depthwise kernel, the input
           axis is among them.
       spatial: the axes of a convolution's window, and all others that have one kernel an index.
       gates: how many blocks of outputs stand side by side on the last axis (four in an LSTM).
    """

    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    spatial: tuple[int, ...] = ()
    gates: int = 1


_KERNELS = (
    "kernel", "recurrent_kernel", "depthwise_kernel", "pointwise_kernel", "embeddings",
    "reverse_embeddings", "real_kernel", "imag_kernel",
)  # fmt: skip
"""The variables of Keras's layers that have an input axis."""

_GATES = {"LSTMCell": 4, "ConvLSTMCell": 4, "GRUCell": 3}


def axes_of(class_name: str, config: Config, variable: str, rank: int) -> Axes:
    """Return the axes of a variable with `rank` dimensions.

    For a class that is not Keras's, the last axis is assumed to be the outputs, and the one before
    it the inputs.
    """
    if rank == 0:
        return Axes()
    find = _BY_CLASS.get(re.sub(r"\dD", "", class_name))
    found = find(config, variable, rank) if find else None
    if found is not None:
        return found
    has_inputs = variable in _KERNELS or class_name not in known_classes()
    return _last(rank, has_inputs, _GATES.get(class_name, 1))


def _last(rank: int, has_inputs: bool, gates: int = 1) -> Axes:
    """Return axes with the outputs last, and the inputs (if any) before them."""
    count = 2 if has_inputs and rank > 1 else 1
    inputs = (rank - 2,) if count == 2 else ()
    return Axes(inputs, (rank - 1,), tuple(range(rank - count)), gates)


def _transposed(_config: Config, variable: str, rank: int) -> Axes | None:
    if variable != "kernel" or rank < 3:
        return None
    return Axes((rank - 1,), (rank - 2,), tuple(range(rank - 2)))


def _depthwise(_config: Config, variable: str, rank: int) -> Axes | None:
    if variable not in ("kernel", "depthwise_kernel") or rank < 3:
        return None
    return Axes((rank - 2,), (rank - 2, rank - 1), tuple(range(rank - 2)))


def _einsum(config: Config, variable: str, rank: int) -> Axes | None:
    found = re.fullmatch(r"(.*),(.*)->(.*)", str(config.get("equation")).replace(".", ""))
    if found is None:
        return None
    given, kernel, made = found.groups()
    labels = kernel
    if variable == "bias":
        present = [made.find(label) for label in str(config.get("bias_axes")) if label in made]
        labels = made[min(present, default=0) :]
    if variable not in ("kernel", "bias") or len(labels) != rank:
        return None
    inputs = tuple(i for i, label in enumerate(labels) if label not in made)
    own = set(kernel) - set(given)
    outputs = tuple(i for i, label in enumerate(labels) if label in own)
    rest = (axis for axis in range(rank) if axis not in inputs + outputs)
    return Axes(inputs, outputs, tuple(rest))


_BY_CLASS: Mapping[str, Callable[[Config, str, int], Axes | None]] = {
    "ConvTranspose": _transposed,
    "DepthwiseConv": _depthwise,
    "SeparableConv": _depthwise,
    "EinsumDense": _einsum,
}
"""The function for each class name without its number of dimensions (Conv2DTranspose)."""
