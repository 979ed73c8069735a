"""Layers and operations that put several tensors together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from surgery.structure.calls import LAYERS, OPERATIONS, At, Axis, Outputs, leaves
from surgery.structure.labels import Traced


@LAYERS("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract")
@OPERATIONS(
    *"""
    Add Arctan2 Divide DivideNoNan Equal FloorDivide Fmax Fmin Fmod Greater GreaterEqual Heaviside
    Hypot Isclose Less LessEqual Logaddexp LogicalAnd LogicalOr LogicalXor Maximum Minimum Mod
    Multiply NotEqual Power Subtract TrueDivide Where
    """.split()  # noqa: SIM905 - as a list it is a page
)
def _together(at: At) -> Outputs:
    given = leaves([at.args, at.kwargs])
    if any(not isinstance(each, Traced | int | float | str | None) for each in given) or any(
        isinstance(each, list) and not any(isinstance(leaf, Traced) for leaf in leaves(each))
        for each in [*at.args, *at.kwargs.values()]
    ):
        return None  # a constant array
    return [joined(at, [(t.labels, t.shape or ()) for t in at.tensors])]


def joined(at: At, tensors: Sequence[tuple[Sequence[Axis], Sequence[int | None]]]) -> list[Axis]:
    """Join the labels of tensors that are broadcast, and return those of the result."""
    rank = max(len(labels) for labels, _ in tensors)
    made: list[Axis] = []
    for place in range(-rank, 0):
        axes = [(labels[place], shape[place]) for labels, shape in tensors if -place <= len(labels)]
        sizes = {size for _, size in axes}
        alone = [labels for labels, size in axes if size == 1]
        full = [(labels, size) for labels, size in axes if size != 1]
        if len(sizes) > 1:  # one channel that stands beside each of several
            at.pin(alone, "repeats it for several channels")
        found = [labels for labels, _ in full or axes if labels is not None]
        for other in found[1:]:
            at.labels.join(found[0], other)
        if len(found) < len(full or axes):
            at.pin(found, "puts them together with channels that must stay")
        made.append(found[0] if found else None)
    return made


@LAYERS("Concatenate")
@OPERATIONS("Concatenate")
def _concatenate(at: At) -> Outputs:
    axis = at.config.get("axis", -1) % len(at.x)
    made = joined(at, [_without(t, axis) for t in at.tensors])
    if all(t.labels[axis] is None for t in at.tensors):
        return [made]
    parts = []
    for tensor in at.tensors:
        labels = tensor.labels[axis]
        if labels is None:
            size = (tensor.shape or ())[axis]
            if size is None:
                return None
            labels = at.labels.fresh(size)
            at.pin(labels, "takes them from where none is removed")
        parts.append(labels)
    made[axis] = np.concatenate(parts)
    return [made]


def _without(tensor: Traced, axis: int) -> tuple[Sequence[Axis], Sequence[int | None]]:
    """Return a tensor as if it had one channel without a label on an axis."""
    labels, shape = list(tensor.labels), list(tensor.shape or ())
    labels[axis], shape[axis] = None, 1
    return labels, shape


@OPERATIONS("Stack")
def _stack(at: At) -> Outputs:
    axis = at.config.get("axis", 0) % (len(at.x) + 1)
    made = joined(at, [(t.labels, t.shape or ()) for t in at.tensors])
    return [[*made[:axis], None, *made[axis:]]]
