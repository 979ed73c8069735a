"""Arithmetic of shapes, as Keras does it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from surgery.architecture.shapes.registry import Shape


def known(shape: Iterable[int | None]) -> list[int]:
    """Return the sizes of a shape; raises ValueError where one is unknown, or no number."""
    sizes = list(shape)
    found = [size for size in sizes if isinstance(size, int)]
    if len(found) < len(sizes):
        raise ValueError(sizes)
    return found


def count(shape: Iterable[int | None]) -> int:
    """Return the number of elements; raises ValueError where a size is unknown."""
    return math.prod(known(shape))


def product(sizes: Iterable[int | None]) -> int | None:
    """Return the product of sizes, None where one of them is."""
    sizes = list(sizes)
    return None if None in sizes else math.prod(known(sizes))


def total(sizes: Iterable[int | None]) -> int | None:
    """Return the sum of sizes, None where one of them is."""
    sizes = list(sizes)
    return None if None in sizes else sum(known(sizes))


def as_list(value: Any) -> list[Any]:
    """Return the items of a list or a tuple, or the value alone."""
    return list(value) if isinstance(value, list | tuple) else [value]


def per_axis(value: Any, rank: int) -> list[Any]:
    """Return one value for each axis, from one for all or a list of them.

    Raises ValueError for a list of another length.
    """
    values = list(value) if isinstance(value, list | tuple) else [value] * rank
    if len(values) != rank:
        raise ValueError(value)
    return values


def numbers(value: Any, rank: int) -> list[int]:
    """Return a number for each axis; raises ValueError for anything else."""
    return known(per_axis(value, rank))


def split(shape: Shape, data_format: Any) -> tuple[int | None, Shape, int | None]:
    """Return the batch, the space and the channels of a shape."""
    batch, *rest = shape
    if data_format == "channels_first":
        channels, *space = rest
    else:
        *space, channels = rest
    return batch, tuple(space), channels


def joined(
    batch: int | None, space: Iterable[int | None], channels: int | None, data_format: Any
) -> Shape:
    """Return the shape with its channels where the data format has them."""
    if data_format == "channels_first":
        return (batch, channels, *space)
    return (batch, *space, channels)


def window(
    size: int | None, kernel: int, stride: int, padding: str, dilation: int = 1
) -> int | None:
    """Return the number of positions of a window; raises ValueError if it does not fit."""
    if size is None:
        return None
    if padding.lower() in ("same", "causal"):
        return (size - 1) // stride + 1
    places = (size - dilation * (kernel - 1) - 1) // stride + 1
    if padding.lower() != "valid" or places < 1:
        raise ValueError(padding, places)
    return places


def axis_of(axis: int, rank: int) -> int:
    """Return the axis counted from the first; raises ValueError where there is none."""
    if not isinstance(axis, int) or not -rank <= axis < rank:
        raise ValueError(axis)
    return axis % rank


def broadcast(first: Sequence[int | None], second: Sequence[int | None]) -> Shape:
    """Return the broadcast shape of two; raises ValueError if there is none."""
    rank = max(len(first), len(second))
    one, other = ((1,) * (rank - len(shape)) + tuple(shape) for shape in (first, second))
    return tuple(map(_broadcast_size, one, other))


def _broadcast_size(a: int | None, b: int | None) -> int | None:
    if a == 1:
        return b
    if a is None:
        return None if b == 1 else b
    if b not in (1, None, a):
        raise ValueError(a, b)
    return a


def reduced(shape: Shape, axis: Any, keepdims: Any = False) -> Shape:
    """Return the shape after a sum over an axis, some, or all (None)."""
    rank = len(shape)
    axes = range(rank) if axis is None else [axis_of(a, rank) for a in as_list(axis)]
    if keepdims:
        return tuple(1 if a in axes else size for a, size in enumerate(shape))
    return tuple(size for a, size in enumerate(shape) if a not in axes)


def reshaped(shape: Shape, target: Any) -> Shape:
    """Return the shape with as many elements as another, in which -1 is what is left."""
    if not isinstance(target, list | tuple):
        raise TypeError(target)
    sizes: list[int | None] = [size if isinstance(size, int) else None for size in target]
    if None in shape or None in sizes:
        return tuple(None if size == -1 else size for size in sizes)
    elements, others = count(shape), count(size for size in sizes if size != -1)
    if -1 not in sizes:
        if elements != others:
            raise ValueError(target)
        return tuple(sizes)
    if not others or elements % others or sizes.count(-1) > 1:
        raise ValueError(target)
    return tuple(elements // others if size == -1 else size for size in sizes)


def with_size(shape: Shape, axis: int, size: int | None) -> Shape:
    """Return the shape with another size on an axis."""
    axis = axis_of(axis, len(shape))
    return (*shape[:axis], size, *shape[axis + 1 :])


def concatenated(shapes: Sequence[Shape], axis: int) -> Shape:
    """Return the first shape, with the sizes of all on that axis added up."""
    return with_size(shapes[0], axis, total(shape[axis] for shape in shapes))
