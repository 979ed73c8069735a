"""Layers that make one tensor of several."""

from __future__ import annotations

from typing import Any

from surgery.architecture.shapes.registry import LAYERS, Shape
from surgery.architecture.shapes.sizes import as_list, concatenated, count

ELEMENTWISE = ("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract")


@LAYERS.shape(*ELEMENTWISE)
def _merged(inputs: list[Shape]) -> Shape:
    batches = {shape[0] for shape in inputs} - {None}
    made = inputs[0][1:]
    for shape in inputs[1:]:
        made = _together(made, shape[1:])
    return (batches.pop() if len(batches) == 1 else None, *made)


def _together(first: Shape, second: Shape) -> Shape:
    """Like broadcasting, but that an unknown size stays unknown beside a known one."""
    if len(first) < len(second):
        first, second = second, first
    start = len(first) - len(second)
    return first[:start] + tuple(map(_size, first[start:], second))


def _size(a: int | None, b: int | None) -> int | None:
    if a is None or b is None:
        return None
    if 1 not in (a, b) and a != b:
        raise ValueError(a, b)
    return b if a == 1 else a


@LAYERS.shape("Concatenate")
def _concatenate(inputs: list[Shape], *, axis: int = -1) -> Shape:
    return concatenated(inputs, axis)


@LAYERS.shape("Dot")
def _dot(inputs: list[Shape], *, axes: Any) -> Shape:
    first, second = map(list, inputs)
    one, other = _axes_of_dot(inputs, axes)
    del first[one], second[other], second[0]
    made = first + second
    return tuple(made if len(made) > 1 else [*made, 1])


def _axes_of_dot(inputs: list[Shape], axes: Any) -> tuple[int, int]:
    one, other = as_list(axes) * 2 if isinstance(axes, int) else axes
    return one % len(inputs[0]), other % len(inputs[1])


@LAYERS.cost("Dot")
def _dot_cost(output: Shape, inputs: list[Shape], *, axes: Any, normalize: bool = False) -> int:
    lengths = 3 * sum(map(count, inputs)) if normalize else 0
    return 2 * count(output) * count([inputs[0][_axes_of_dot(inputs, axes)[0]]]) + lengths
