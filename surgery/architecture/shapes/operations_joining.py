"""Operations of `keras.ops` that join, split, repeat or pad tensors."""

from __future__ import annotations

import itertools
from typing import Any

from surgery.architecture.shapes.registry import OPERATIONS, Shape
from surgery.architecture.shapes.sizes import (
    as_list,
    axis_of,
    broadcast,
    concatenated,
    known,
    per_axis,
    product,
    reduced,
    total,
    with_size,
)

_MOST = 1 << 16
"""The outputs of one operation: a damaged config may ask for more than there is memory for."""


@OPERATIONS.shape("Concatenate")
def _concatenate(xs: list[Shape], *, axis: int = 0) -> Shape:
    return concatenated(xs, axis)


@OPERATIONS.shape("Append")
def _append(x1: Shape, x2: Shape, *, axis: int | None = None) -> Shape:
    if axis is None:
        return (total(map(product, (x1, x2))),)
    return concatenated([x1, x2], axis)


@OPERATIONS.shape("Vstack")
def _vstack(xs: list[Shape]) -> Shape:
    return concatenated(xs, 0)


@OPERATIONS.shape("Hstack")
def _hstack(xs: list[Shape]) -> Shape:
    return concatenated(xs, 1)


@OPERATIONS.shape("Dstack")
def _dstack(xs: list[Shape]) -> Shape:
    whole = [((1,), (1, *x, 1), (*x, 1), x)[min(len(x), 3)] if x else (1, 1, 1) for x in xs]
    return concatenated(whole, 2)


@OPERATIONS.shape("Stack")
def _stack(x: list[Shape], *, axis: int = 0) -> Shape:
    axis = axis_of(axis, len(x[0]) + 1)
    return (*x[0][:axis], len(x), *x[0][axis:])


@OPERATIONS.shape("Unstack")
def _unstack(x: Shape, *, num: int | None = None, axis: int = 0) -> list[Shape]:
    (number,) = known([x[axis] if num is None else num])
    return _copies(reduced(x, axis), number)


@OPERATIONS.shape("Split")
def _split(x: Shape, *, indices_or_sections: Any, axis: int = 0) -> list[Shape]:
    size = x[axis]
    if isinstance(indices_or_sections, int):
        if size is not None and size % indices_or_sections:
            raise ValueError(size)
        part = None if size is None else size // indices_or_sections
        return _copies(with_size(x, axis, part), indices_or_sections)
    ends = [0, *indices_or_sections, size]
    return [
        with_size(x, axis, None if end is None else end - start)
        for start, end in itertools.pairwise(ends)
    ]


@OPERATIONS.shape("Vsplit")
def _vsplit(x: Shape, *, indices_or_sections: Any) -> list[Shape]:
    return _split(x, indices_or_sections=indices_or_sections)


@OPERATIONS.shape("Hsplit")
def _hsplit(x: Shape, *, indices_or_sections: Any) -> list[Shape]:
    return _split(x, indices_or_sections=indices_or_sections, axis=min(len(x) - 1, 1))


@OPERATIONS.shape("Dsplit")
def _dsplit(x: Shape, *, indices_or_sections: Any) -> list[Shape]:
    return _split(x, indices_or_sections=indices_or_sections, axis=2)


@OPERATIONS.shape("ArraySplit")
def _array_split(x: Shape, *, indices_or_sections: int, axis: int = 0) -> list[Shape]:
    size = x[axis]
    if size is None:
        return _copies(with_size(x, axis, None), indices_or_sections)
    part, more = divmod(size, indices_or_sections)
    longer = _copies(with_size(x, axis, part + 1), more)
    return longer + _copies(with_size(x, axis, part), indices_or_sections - more)


def _copies(shape: Shape, number: int) -> list[Shape]:
    if number > _MOST:
        raise ValueError(number)
    return [shape] * number


@OPERATIONS.shape("Repeat")
def _repeat(x: Shape, *, repeats: Any, axis: int | None = None) -> Shape:
    shape = (product(x),) if axis is None else x
    place = axis or 0
    size, times = shape[place], as_list(repeats)
    if size is None:
        return shape
    return with_size(shape, place, product([size, *times]) if len(times) == 1 else total(times))


@OPERATIONS.shape("Tile")
def _tile(x: Shape, *, repeats: Any) -> Shape:
    times = as_list(repeats)
    rank = max(len(x), len(times))
    sizes = (1,) * (rank - len(x)) + x
    times = [1] * (rank - len(times)) + times
    return tuple(map(product, zip(sizes, times, strict=True)))


@OPERATIONS.shape("Pad")
def _pad(x: Shape, *, pad_width: Any) -> Shape:
    widths = as_list(pad_width)
    if len(widths) == 2 and all(isinstance(width, int) for width in widths):
        widths = [widths]  # the two ends of all axes
    ends = [per_axis(end, 2) for end in (widths * len(x) if len(widths) == 1 else widths)]
    return tuple(total([size, *end]) for size, end in zip(x, ends, strict=True))


@OPERATIONS.shape("BroadcastTo")
def _broadcast_to(x: Shape, *, shape: Any) -> Shape:
    broadcast(x, shape)
    return tuple(shape)
