"""Layers and operations that move elements to other axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from surgery.structure.calls import LAYERS, OPERATIONS, At, Axis, Outputs


@LAYERS("Flatten")
def _flatten(at: At) -> Outputs:
    order = list(range(1, len(at.x)))
    if at.config.get("data_format") == "channels_first" and len(at.x) > 2:
        order = [*order[1:], 1]
    return [[None, _folded(at, order)]]


def _folded(at: At, axes: Sequence[int]) -> Axis:
    """Return the labels of one axis that takes the place of several."""
    have = [axis for axis in axes if at.x[axis] is not None]
    sizes = [at.shape[axis] for axis in axes]
    if not have:
        return None
    if None in sizes or len(have) > 1:
        at.pin(at.x, "folds them with another axis of channels, or with one of unknown size")
        return None
    labels = at.x[have[0]]
    assert labels is not None
    places = [-1 if axis == have[0] else 1 for axis in axes]
    known = [size for size in sizes if size is not None]
    result: Axis = np.broadcast_to(labels.reshape(places), known).ravel()
    return result


@LAYERS("Reshape")
def _reshape(at: At) -> Outputs:
    return _reshaped(at, list(at.config["target_shape"]), "target_shape", 0)


@OPERATIONS("Reshape")
def _operation(at: At) -> Outputs:
    shape = at.config.get("newshape")
    if not isinstance(shape, list) or at.x[0] is not None:
        return None
    return _reshaped(at, shape[1:], "newshape", 1)


def _reshaped(at: At, target: list[int], key: str, before: int) -> Outputs:
    """Return labels behind a Reshape to the shape in the config, without the batch."""
    old = list(at.shape[1:])
    if all(labels is None for labels in at.x):
        return [[None] * (len(target) + 1)]
    sizes = [size for size in old if size is not None]
    if len(sizes) < len(old) or any(not isinstance(size, int) for size in target):
        return None
    asked, total = list(target), math.prod(sizes)
    if -1 in target:
        target[target.index(-1)] = total // max(1, -math.prod(target))
    if math.prod(target) != total or not total:
        return None
    made: list[Axis] = [None] * (len(target) + 1)
    for old_axes, new_axes in _blocks(sizes, target):
        labels = _folded(at, [axis + 1 for axis in old_axes])
        if labels is None:
            continue
        if not new_axes:
            at.pin(labels, "drops their axis")
            continue
        last = max((a for a in new_axes if target[a] > 1), default=new_axes[-1])
        rows = labels.reshape(-1, target[last])
        at.labels.join(rows[1:], rows[:1])
        made[last + 1] = rows[0]
        if asked[last] != -1:
            at.read(rows[0], ("new", last))
            at.edit((key, last + before), rows[0])
    return [made]


def _blocks(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Return the smallest blocks of old and new axes that have as many elements."""
    found, i, j = [], 0, 0
    while i < len(old) or j < len(new):
        first, second = i, j
        i, j = min(i + 1, len(old)), min(j + 1, len(new))
        while math.prod(old[first:i]) != math.prod(new[second:j]):
            if math.prod(old[first:i]) < math.prod(new[second:j]):
                i += 1
            else:
                j += 1
        while i == len(old) and j < len(new) and new[j] == 1:
            j += 1
        while j == len(new) and i < len(old) and old[i] == 1:
            i += 1
        found.append((list(range(first, i)), list(range(second, j))))
    return found


@LAYERS("Permute")
def _permute(at: At) -> Outputs:
    return [[at.x[axis] for axis in (0, *at.config["dims"])]]


@OPERATIONS("Transpose")
def _transpose(at: At) -> Outputs:
    axes = at.config.get("axes") or range(len(at.x))[::-1]
    return [[at.x[axis] for axis in axes]]


@OPERATIONS("Swapaxes")
def _swap(at: At) -> Outputs:
    made = list(at.x)
    one, other = at.config["axis1"], at.config["axis2"]
    made[one], made[other] = made[other], made[one]
    return [made]


@LAYERS("RepeatVector")
def _repeat(at: At) -> Outputs:
    return [[None, None, at.x[1]]]


@OPERATIONS("ExpandDims")
def _expand(at: At) -> Outputs:
    axis = at.config.get("axis")
    if not isinstance(axis, int):
        return None
    axis %= len(at.x) + 1
    return [[*at.x[:axis], None, *at.x[axis:]]]


@OPERATIONS("Squeeze")
def _squeeze(at: At) -> Outputs:
    axis = at.config.get("axis")
    axes = [a for a, size in enumerate(at.shape) if size == 1] if axis is None else axis
    gone = {a % len(at.x) for a in (axes if isinstance(axes, list) else [axes])}
    at.pin([labels for a, labels in enumerate(at.x) if a in gone], "drops their axis")
    return [[labels for a, labels in enumerate(at.x) if a not in gone]]
