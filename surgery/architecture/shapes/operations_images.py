"""Operations of `keras.ops` on images."""

from __future__ import annotations

from typing import Any

from surgery.architecture.shapes.convolution import conv
from surgery.architecture.shapes.pooling import pooled
from surgery.architecture.shapes.preprocessing import resized
from surgery.architecture.shapes.registry import OPERATIONS, Shape
from surgery.architecture.shapes.sizes import (
    count,
    joined,
    known,
    per_axis,
    product,
    split,
    total,
    window,
    with_size,
)

OPERATIONS.shape("AveragePool", "MaxPool")(pooled)


@OPERATIONS.shape("Resize")
def _resize(images: Shape, *, size: Any, data_format: Any = None) -> Shape:
    height, width = size
    return resized(images, height=height, width=width, data_format=data_format)


@OPERATIONS.shape("RGBToGrayscale")
def _gray(images: Shape, *, data_format: Any = None) -> Shape:
    return with_size(images, -3 if data_format == "channels_first" else -1, 1)


@OPERATIONS.shape("PadImages")
def _pad_images(
    images: Shape,
    *,
    top_padding: int | None = None,
    left_padding: int | None = None,
    bottom_padding: int | None = None,
    right_padding: int | None = None,
    target_height: int | None = None,
    target_width: int | None = None,
    data_format: Any = None,
) -> Shape:
    first = -2 if data_format == "channels_first" else -3
    height = target_height or total([images[first], top_padding, bottom_padding])
    width = target_width or total([images[first + 1], left_padding, right_padding])
    return with_size(with_size(images, first, height), first + 1, width)


@OPERATIONS.shape("CropImages")
def _crop_images(
    images: Shape,
    *,
    top_cropping: int | None = None,
    left_cropping: int | None = None,
    bottom_cropping: int | None = None,
    right_cropping: int | None = None,
    target_height: int | None = None,
    target_width: int | None = None,
    data_format: Any = None,
) -> Shape:
    first = -2 if data_format == "channels_first" else -3
    height = _cropped(images[first], top_cropping, bottom_cropping, target_height)
    width = _cropped(images[first + 1], left_cropping, right_cropping, target_width)
    return with_size(with_size(images, first, height), first + 1, width)


def _cropped(size: int | None, before: int | None, after: int | None, target: int | None) -> int:
    if target is not None:
        return target
    whole, *gone = known([size, before, after])
    return whole - sum(gone)


@OPERATIONS.shape("ExtractPatches")
def _patches(
    images: Shape,
    *,
    size: Any,
    strides: Any = None,
    dilation_rate: Any = 1,
    padding: str = "valid",
    data_format: Any = None,
) -> Shape:
    rank = 3 if isinstance(size, list) and len(size) == 3 else 2
    sides = per_axis(size, rank)
    batched = images if len(images) == rank + 2 else (1, *images)
    channels = known([split(batched, data_format)[2]])
    made = conv(
        batched,
        filters=count([*sides, *channels]),
        kernel_size=sides,
        strides=sides if strides is None else strides,
        padding=padding,
        data_format=data_format,
        dilation_rate=dilation_rate,
    )
    return made if batched is images else made[1:]


@OPERATIONS.shape("MapCoordinates")
def _map_coordinates(_inputs: Shape, coordinates: Shape) -> Shape:
    return coordinates[1:]


@OPERATIONS.shape("ScaleAndTranslate")
def _scale_and_translate(_images: Shape, output_shape: list[int | None]) -> Shape:
    return tuple(output_shape)


@OPERATIONS.shape("SobelEdges")
def _sobel(images: Shape) -> Shape:
    return (*images, 2)


@OPERATIONS.shape("SSIM")
def _ssim(image1: Shape) -> Shape:
    return image1[:1] if len(image1) == 4 else ()


@OPERATIONS.shape("Unfold")
def _unfold(
    x: Shape, *, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Shape:
    batch, channels, *space = x
    kernel = per_axis(kernel_size, 2)
    padded = [
        total([size, 2 * more]) for size, more in zip(space, per_axis(padding, 2), strict=True)
    ]
    sides = zip(padded, kernel, per_axis(stride, 2), per_axis(dilation, 2), strict=True)
    places = [window(size, k, step, "valid", rate) for size, k, step, rate in sides]
    return (batch, product([channels, *kernel]), product(known(places)))


@OPERATIONS.shape("Fold")
def _fold(x: Shape, *, output_size: Any, kernel_size: Any) -> Shape:
    batch, elements, _ = x
    channels = None if elements is None else elements // count(per_axis(kernel_size, 2))
    return (batch, channels, *per_axis(output_size, 2))


@OPERATIONS.shape("DepthToSpace")
def _depth_to_space(x: Shape, *, block_size: int, data_format: Any = "channels_last") -> Shape:
    batch, space, channels = split(x, data_format)
    made = [product([size, block_size]) for size in space]
    return joined(batch, made, channels and channels // block_size**2, data_format)


@OPERATIONS.shape("SpaceToDepth")
def _space_to_depth(x: Shape, *, block_size: int, data_format: Any = "channels_last") -> Shape:
    batch, space, channels = split(x, data_format)
    made = [size and size // block_size for size in space]
    return joined(batch, made, product([channels, block_size**2]), data_format)
