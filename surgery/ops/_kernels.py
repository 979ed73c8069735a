"""The kernels of Dense and convolutional layers, as linear maps from channels to channels."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from surgery.architecture.axes import axes_of
from surgery.architecture.entries import class_of, join
from surgery.weights.channels import Channels
from surgery.weights.model import Model
from surgery.weights.tensor import Array, Mapped, Tensor, chunk_ranges

_KERNELS: Mapping[str, Sequence[str]] = {
    "Conv": ("kernel",),
    "ConvTranspose": ("kernel",),
    "Dense": ("kernel",),
    "DepthwiseConv": ("kernel",),
    "SeparableConv": ("depthwise_kernel", "pointwise_kernel"),
}
"""The kernels of each class, in the order in which they are applied."""


_ZEROS: Mapping[str, Any] = {
    "module": "keras.initializers", "class_name": "Zeros", "config": {}, "registered_name": None,
}  # fmt: skip


def family(entry: Mapping[str, Any]) -> str:
    """Return a layer's class without its number of dimensions: Conv for Conv2D."""
    return re.sub(r"\dD", "", class_of(entry))


def kernels_of(entry: Mapping[str, Any]) -> Sequence[str]:
    """Return the names of a layer's kernels in the order in which they are applied.

    Only of layers that are linear but for their activation; of others, none.
    """
    return _KERNELS.get(family(entry), ())


def has_lora(model: Model, layer: str) -> bool:
    """Return whether a layer's kernel is not what the layer computes with: LoRA is added to it."""
    return join(layer, "lora_kernel_a") in model.by_address


def norm_variables(config: Mapping[str, Any]) -> list[str]:
    """Return the names of the variables that a BatchNormalization uses at inference."""
    own = [
        name for name, flag in (("gamma", "scale"), ("beta", "center")) if config.get(flag, True)
    ]
    return [*own, "moving_mean", "moving_variance"]


def is_linear(entry: Mapping[str, Any]) -> bool:
    """Return whether a layer has no activation."""
    return entry["config"].get("activation") in (None, "linear")


def without_arrays(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a layer's config for variables of other shapes.

    Its initialisers that hold arrays, which Keras would not fit to these, give way to Zeros.
    """
    return {key: _ZEROS if _holds_array(key, value) else value for key, value in config.items()}


def _holds_array(key: str, value: Any) -> bool:
    if not key.endswith("_initializer") or not isinstance(value, Mapping):
        return False
    return isinstance((value.get("config") or {}).get("value"), list | Mapping)


def built_on_shape(
    entry: Mapping[str, Any], shape: Sequence[int | None] | None
) -> Mapping[str, Any]:
    """Return a layer's entry for an input of another shape, None where it is not known.

    Keras builds a layer by the shape that its entry has, and fails where that is an old one.
    """
    plain = {key: value for key, value in entry.items() if key != "build_config"}
    return plain if shape is None else {**plain, "build_config": {"input_shape": list(shape)}}


def channel_axis(entry: Mapping[str, Any], rank: int) -> int:
    """Return the axis of a layer's inputs and outputs that their channels lie on."""
    is_first = family(entry) != "Dense" and entry["config"].get("data_format") == "channels_first"
    return 1 if is_first else rank - 1


@dataclass(frozen=True)
class Kernel:
    """A kernel whose every element leads from one input channel to one output channel.

    `groups` is the number of parts whose inputs lead to their own outputs only.
    """

    tensor: Tensor
    inputs: Channels
    outputs: Channels
    groups: int = 1

    @classmethod
    def of(cls, entry: Mapping[str, Any], variable: str, tensor: Tensor) -> Kernel:
        """Return the kernel of a layer."""
        class_name, shape = class_of(entry), tensor.shape
        axes = axes_of(class_name, entry["config"], variable, len(shape))
        (given,), first, last = axes.inputs, axes.outputs[0], axes.outputs[-1]
        return cls(
            tensor,
            Channels(shape[given], math.prod(shape[given + 1 :])),
            Channels(math.prod(shape[first : last + 1]), math.prod(shape[last + 1 :])),
            int(entry["config"].get("groups") or 1) if variable == "kernel" else 1,
        )

    @property
    def count(self) -> int:
        """The number of input channels."""
        return self.inputs.count * self.groups

    def times_outputs(self, factors: Callable[[], Array]) -> Tensor:
        """Return the kernel with what leads to each output channel times a factor."""
        return self._times(factors, self.outputs.of)

    def times_inputs(self, factors: Callable[[], Array]) -> Tensor:
        """Return the kernel with what each input channel is read by times a factor."""
        return self._times(factors, self._given)

    def _times(self, factors: Callable[[], Array], index: Callable[[int, int], Array]) -> Tensor:
        def change(values: Array, start: int) -> Array:
            # In float64, so that only the product is rounded.
            return values.astype(np.float64) * factors()[index(start, values.size)]

        return Mapped(self.tensor, change)

    def applied(self, values: Array) -> Array:
        """Return what becomes of inputs that are the same everywhere in space, in float64.

        The kernel is read once, chunk by chunk.
        """
        total = np.zeros(self.outputs.count)
        for start, stop in chunk_ranges(self.tensor.size):
            wide = self.tensor.read(start, stop).astype(np.float64)
            part = wide * values[self._given(start, stop - start)]
            made = self.outputs.of(start, stop - start)
            total += np.bincount(made, part, self.outputs.count)
        return total

    def _given(self, start: int, size: int) -> Array:
        """Return the input channel of every element of a flat range."""
        index = self.inputs.of(start, size)
        if self.groups > 1:
            group = self.outputs.of(start, size) // (self.outputs.count // self.groups)
            index += group * self.inputs.count
        return index
