"""Operations of `keras.ops` that reduce, move, split, join or repeat axes."""

from __future__ import annotations

import re
from typing import Any

from surgery.architecture.shapes.operations_elementwise import operand
from surgery.architecture.shapes.registry import OPERATIONS, Shape
from surgery.architecture.shapes.sizes import (
    as_list,
    axis_of,
    broadcast,
    known,
    product,
    reduced,
    reshaped,
    total,
    with_size,
)

REDUCTIONS = tuple(
    """
    All Amax Amin Any Argmax Argmin Average CountNonzero Logsumexp Max Mean Median Min Nanargmax
    Nanargmin Nanmax Nanmean Nanmedian Nanmin Nanprod Nanstd Nansum Nanvar Norm Prod Ptp Std Sum
    Var
    """.split()  # noqa: SIM905
)


@OPERATIONS.shape(*REDUCTIONS)
def _reduced(x: Shape, *, axis: Any = None, keepdims: Any = False) -> Shape:
    return reduced(x, axis, keepdims)


@OPERATIONS.shape("Moments")
def _moments(x: Shape, *, axes: Any, keepdims: Any = False) -> list[Shape]:
    return [reduced(x, axes, keepdims)] * 2


@OPERATIONS.shape("Percentile", "Nanpercentile", "Quantile", "Nanquantile")
def _quantiles(x: Shape, q: Any, *, entry: Any, axis: Any = None, keepdims: Any = False) -> Shape:
    made = reduced(x, axis, keepdims)
    if isinstance(q, list):
        alone = len(q) == 1 and "uantile" in str(entry["class_name"])
        return made if alone else (len(q), *made)
    return (*operand(q)[:1], *made)


@OPERATIONS.shape("Argsort", "Sort", "Argpartition", "Cumprod", "Cumsum", "Nancumprod", "Nancumsum")
def _along(x: Shape, *, entry: Any, axis: Any = -1) -> Shape:
    if entry["class_name"].lower().removeprefix("nan").startswith("cum"):
        axis = entry["config"].get("axis")  # whose default is all of them
    if axis is None:
        return (product(x),)
    axis_of(axis, len(x))
    return x


@OPERATIONS.shape("Diff")
def _differences(a: Shape, *, n: int = 1, axis: int = -1) -> Shape:
    size = a[axis]
    return with_size(a, axis, None if size is None else max(size - n, 0))


@OPERATIONS.shape("Trapezoid")
def _trapezoid(y: Shape, *, axis: Any = -1) -> Shape:
    return reduced(y, axis) if y and axis is not None else y


@OPERATIONS.shape("Reshape")
def _reshape(x: Shape, *, newshape: Any) -> Shape:
    return reshaped(x, newshape)


@OPERATIONS.shape("Ravel")
def _ravel(x: Shape) -> Shape:
    return (product(x),)


@OPERATIONS.shape("Transpose")
def _transpose(x: Shape, *, axes: Any = None) -> Shape:
    if axes is None:
        return x[::-1]
    order = [axis_of(axis, len(x)) for axis in axes]
    if len(set(order)) != len(x):
        raise ValueError(axes)
    return tuple(x[axis] for axis in order)


@OPERATIONS.shape("Swapaxes")
def _swap(x: Shape, *, axis1: int, axis2: int) -> Shape:
    return with_size(with_size(x, axis1, x[axis2]), axis2, x[axis1])


@OPERATIONS.shape("Rot90")
def _turn(array: Shape, *, axes: Any = (0, 1)) -> Shape:
    one, other = axes  # Keras swaps them however often it turns
    return _swap(array, axis1=one, axis2=other)


@OPERATIONS.shape("Moveaxis")
def _move(x: Shape, *, source: Any, destination: Any) -> Shape:
    places = {
        axis_of(to, len(x)): axis_of(origin, len(x))
        for origin, to in zip(as_list(source), as_list(destination), strict=True)
    }
    others = iter(axis for axis in range(len(x)) if axis not in places.values())
    return tuple(x[places[a] if a in places else next(others)] for a in range(len(x)))


@OPERATIONS.shape("ExpandDims")
def _expand(x: Shape, *, axis: Any) -> Shape:
    rank = len(x) + len(as_list(axis))
    axes = {axis_of(a, rank) for a in as_list(len(x) if axis is None else axis)}
    sizes = iter(x)
    return tuple(1 if a in axes else next(sizes) for a in range(rank))


@OPERATIONS.shape("Squeeze")
def _squeeze(x: Shape, *, axis: Any = None) -> Shape:
    if axis is None:
        return tuple(size for size in x if size != 1)
    if any(x[a] != 1 for a in as_list(axis)):
        raise ValueError(axis)
    return reduced(x, axis)


@OPERATIONS.shape("GetItem")
def _item(x: Shape, key: Any) -> Shape:
    keys = as_list(key)
    if Ellipsis not in keys:
        keys.append(Ellipsis)
    sizes, made = list(x), []
    for place, item in enumerate(keys):
        if item is Ellipsis:
            needed = sum(other is not None for other in keys[place + 1 :])
            kept = len(sizes) - needed
            made += sizes[:kept]
            sizes = sizes[kept:]
        elif item is None:
            made.append(1)
        elif isinstance(item, slice):
            size = sizes.pop(0)
            made.append(None if size is None else len(range(*item.indices(size))))
        else:
            size = sizes.pop(0)
            if size is not None:
                axis_of(item, size)
    return tuple(made)


@OPERATIONS.shape("Slice")
def _slice(inputs: Shape, start_indices: Any, *, shape: Any) -> Shape:
    starts = start_indices if isinstance(start_indices, list) else [None] * len(inputs)
    return tuple(
        wanted if wanted != -1 else None if None in (size, start) else size - start
        for size, wanted, start in zip(inputs, shape, starts, strict=True)
    )


@OPERATIONS.shape("Take")
def _take(x: Shape, indices: Any, *, axis: int | None = None) -> Shape:
    taken = _values(indices)
    if axis is None:
        return taken
    axis = axis_of(axis, len(x))
    return (*x[:axis], *taken, *x[axis + 1 :])


def _values(values: Any) -> Shape:
    """Return the shape of a tensor, or of the numbers in its place."""
    sizes = []
    while isinstance(values, list):
        sizes.append(len(values))
        values = values[0] if values else None
    return (*sizes, *operand(values))


@OPERATIONS.shape("TakeAlongAxis")
def _take_along(x: Shape, indices: Shape, *, axis: int | None = None) -> Shape:
    flat = (product(x),) if axis is None else x
    if len(flat) != len(indices):
        raise ValueError(axis)
    place = axis_of(axis or 0, len(flat))
    return broadcast(with_size(flat, place, indices[place]), indices)


@OPERATIONS.shape("Diagonal")
def _diagonal(x: Shape, *, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Shape:
    return (*reduced(x, [axis1, axis2]), _diagonal_size(x[axis1], x[axis2], offset))


def _diagonal_size(rows: int | None, columns: int | None, offset: int) -> int | None:
    if rows is None or columns is None:
        return None
    return max(0, min(columns - offset if offset > 0 else rows + offset, rows, columns))


@OPERATIONS.shape("Trace")
def _trace(x: Shape, *, axis1: int = 0, axis2: int = 1) -> Shape:
    return reduced(x, [axis1, axis2])


@OPERATIONS.shape("Diag")
def _diag(x: Shape, *, k: int = 0) -> Shape:
    if len(x) == 1:
        return (total([x[0], abs(k)]),) * 2
    rows, columns = x
    return (_diagonal_size(rows, columns, k),)


@OPERATIONS.shape("Diagflat")
def _diagflat(x: Shape, *, k: int = 0) -> Shape:
    return (total([product(x), abs(k)]),) * 2


@OPERATIONS.shape("Rearrange")
def _rearrange(tensor: Shape, pattern: str, **lengths: int) -> Shape:
    before, after = (re.findall(r"\w+|\(.*?\)", side) for side in pattern.split("->"))
    sizes: dict[str, int | None] = dict(lengths)
    for axes, size in zip(before, tensor, strict=True):
        inner = re.findall(r"\w+", axes)
        missing = [axis for axis in inner if axis not in lengths] if "(" in axes else []
        if "(" not in axes:
            sizes[axes] = size
        elif missing:
            divisor = product(lengths[axis] for axis in inner if axis in lengths)
            sizes[missing[0]] = known([size])[0] // known([divisor])[0]
    return tuple(product(sizes[axis] for axis in re.findall(r"\w+", axes)) for axes in after)
