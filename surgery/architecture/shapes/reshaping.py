"""Layers that move, repeat, pad or drop elements."""

from __future__ import annotations

from typing import Any

from surgery.architecture.shapes.registry import LAYERS, Shape
from surgery.architecture.shapes.sizes import joined, per_axis, product, reshaped, split, total


@LAYERS.shape("Flatten")
def _flatten(inputs: Shape) -> Shape:
    return (inputs[0], product(inputs[1:]))


@LAYERS.shape("Reshape")
def _reshape(inputs: Shape, *, target_shape: Any) -> Shape:
    return (inputs[0], *reshaped(inputs[1:], target_shape))


@LAYERS.shape("Permute")
def _permute(inputs: Shape, *, dims: Any) -> Shape:
    return (inputs[0], *(inputs[axis] for axis in dims))


@LAYERS.shape("RepeatVector")
def _repeat(inputs: Shape, *, n: int) -> Shape:
    batch, size = inputs
    return (batch, n, size)


@LAYERS.shape("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D")
def _padded(inputs: Shape, *, padding: Any = 1, data_format: Any = None) -> Shape:
    return _longer(inputs, padding, 1, data_format)


@LAYERS.shape("Cropping1D", "Cropping2D", "Cropping3D")
def _cropped(inputs: Shape, *, cropping: Any, data_format: Any = None) -> Shape:
    made = _longer(inputs, cropping, -1, data_format)
    if any(size is not None and size < 1 for size in made[1:]):
        raise ValueError(made)
    return made


def _longer(inputs: Shape, sides: Any, sign: int, data_format: Any) -> Shape:
    """Return the shape with so many elements before and after on each axis of space."""
    batch, space, channels = split(inputs, data_format)
    if len(space) == 1 and isinstance(sides, list) and not isinstance(sides[0], list):
        sides = [sides]  # the two ends of the only axis
    ends = [per_axis(end, 2) for end in per_axis(sides, len(space))]
    made = [total([size, sign * sum(end)]) for size, end in zip(space, ends, strict=True)]
    return joined(batch, made, channels, data_format)


@LAYERS.shape("UpSampling1D", "UpSampling2D", "UpSampling3D")
def _upsampled(inputs: Shape, *, size: Any = 2, data_format: Any = None) -> Shape:
    batch, space, channels = split(inputs, data_format)
    factors = per_axis(size, len(space))
    made = [product(pair) for pair in zip(space, factors, strict=True)]
    return joined(batch, made, channels, data_format)
