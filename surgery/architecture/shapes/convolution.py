"""Convolutions."""

from __future__ import annotations

from typing import Any

from surgery.architecture.shapes.registry import LAYERS, Shape
from surgery.architecture.shapes.sizes import count, joined, known, numbers, per_axis, split, window

_PLAIN = ("Conv1D", "Conv2D", "Conv3D")
_SEPARABLE = ("SeparableConv1D", "SeparableConv2D")
_DEPTHWISE = ("DepthwiseConv1D", "DepthwiseConv2D")
_TRANSPOSED = ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")


@LAYERS.shape(*_PLAIN, *_SEPARABLE)
def conv(
    inputs: Shape,
    *,
    filters: int,
    kernel_size: Any,
    strides: Any = 1,
    padding: str = "valid",
    data_format: Any = None,
    dilation_rate: Any = 1,
) -> Shape:
    """Return the shape of a convolution's output."""
    batch, space, _ = split(inputs, data_format)
    sides = zip(
        space,
        numbers(kernel_size, len(space)),
        numbers(strides, len(space)),
        numbers(dilation_rate, len(space)),
        strict=True,
    )
    made = [window(size, kernel, stride, padding, rate) for size, kernel, stride, rate in sides]
    return joined(batch, made, filters, data_format)


@LAYERS.shape(*_DEPTHWISE)
def _depthwise(
    inputs: Shape,
    *,
    kernel_size: Any,
    strides: Any = 1,
    padding: str = "valid",
    depth_multiplier: int = 1,
    data_format: Any = None,
    dilation_rate: Any = 1,
) -> Shape:
    (channels,) = known([split(inputs, data_format)[2]])
    return conv(
        inputs,
        filters=count([channels, depth_multiplier]),
        kernel_size=kernel_size,
        strides=strides,
        padding=padding,
        data_format=data_format,
        dilation_rate=dilation_rate,
    )


@LAYERS.shape(*_TRANSPOSED)
def transposed(
    inputs: Shape,
    *,
    filters: int,
    kernel_size: Any,
    strides: Any = 1,
    padding: str = "valid",
    output_padding: Any = None,
    data_format: Any = None,
    dilation_rate: Any = 1,
) -> Shape:
    """Return the shape of a transposed convolution's output."""
    batch, space, _ = split(inputs, data_format)
    sides = zip(
        space,
        numbers(kernel_size, len(space)),
        numbers(strides, len(space)),
        per_axis(output_padding, len(space)),
        numbers(dilation_rate, len(space)),
        strict=True,
    )
    made = [
        _unwound(size, (kernel - 1) * rate + 1, stride, padding.lower(), more)
        for size, kernel, stride, more, rate in sides
    ]
    return joined(batch, made, filters, data_format)


def _unwound(
    size: int | None, kernel: int, stride: int, padding: str, more: int | None
) -> int | None:
    """Return the size of a transposed convolution's output on one axis."""
    if size is None:
        return None
    if padding == "valid":
        more = max(kernel, stride) - kernel if more is None else more
        return (size - 1) * stride + kernel + more
    if padding != "same":
        raise ValueError(padding)
    return size * stride if more is None else (size - 1) * stride + kernel % 2 + more


@LAYERS.cost(*_PLAIN)
def conv_cost(
    output: Shape,
    inputs: Shape,
    *,
    kernel_size: Any,
    groups: int = 1,
    use_bias: bool = True,
    data_format: Any = None,
) -> int:
    """Count the products of each output with its window, and the biases."""
    _, space, channels = split(inputs, data_format)
    taps = count(numbers(kernel_size, len(space))) * known([channels])[0] // known([groups])[0]
    return count(output) * (2 * taps + bool(use_bias))


@LAYERS.cost(*_DEPTHWISE)
def _depthwise_cost(
    output: Shape, inputs: Shape, *, kernel_size: Any, use_bias: bool = True
) -> int:
    taps = count(numbers(kernel_size, len(inputs) - 2))
    return count(output) * (2 * taps + bool(use_bias))


@LAYERS.cost(*_SEPARABLE)
def _separable_cost(
    output: Shape,
    inputs: Shape,
    *,
    kernel_size: Any,
    depth_multiplier: int = 1,
    use_bias: bool = True,
    data_format: Any = None,
) -> int:
    batch, space, _ = split(output, data_format)
    between = count([split(inputs, data_format)[2], depth_multiplier])
    places = count((batch, *space))
    depthwise = 2 * places * between * count(numbers(kernel_size, len(space)))
    return depthwise + count(output) * (2 * between + bool(use_bias))


@LAYERS.cost(*_TRANSPOSED)
def transposed_cost(
    output: Shape,
    inputs: Shape,
    *,
    kernel_size: Any,
    use_bias: bool = True,
    data_format: Any = None,
) -> int:
    """Count the products of each input with its window, and the biases."""
    _, space, filters = split(output, data_format)
    taps = count(numbers(kernel_size, len(space))) * known([filters])[0]
    return 2 * count(inputs) * taps + count(output) * bool(use_bias)
