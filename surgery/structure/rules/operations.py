"""Operations of `keras.ops` that reduce, split, slice or pad axes."""

from __future__ import annotations

import itertools

from surgery.architecture.shapes.registry import decoded
from surgery.structure.calls import OPERATIONS, At, Axis, Outputs
from surgery.structure.labels import Traced


@OPERATIONS("All", "Amax", "Amin", "Any", "Max", "Mean", "Min", "Prod", "Std", "Sum", "Var")
def _reduced(at: At) -> Outputs:
    axis = at.config.get("axis")
    asked = range(len(at.x)) if axis is None else axis if isinstance(axis, list) else [axis]
    axes = {each % len(at.x) for each in asked}
    for each in axes:
        at.mix(at.x[each])
    keeps = at.config.get("keepdims")
    return [[None if a in axes else each for a, each in enumerate(at.x) if keeps or a not in axes]]


@OPERATIONS("Split")
def _split(at: At) -> Outputs:
    axis, parts = at.config.get("axis", 0) % len(at.x), at.config["indices_or_sections"]
    labels, size = at.x[axis], at.shape[axis]
    if labels is None or size is None:
        count = parts if isinstance(parts, int) else len(parts) + 1
        return [at.x] * count
    places = [size // parts * n for n in range(1, parts)] if isinstance(parts, int) else parts
    # The places of the new sections are those of the labels before them.
    at.edit("indices_or_sections", tuple(labels[:place] for place in places))
    bounds = itertools.pairwise((0, *places, size))
    return [[*at.x[:axis], labels[one:other], *at.x[axis + 1 :]] for one, other in bounds]


@OPERATIONS("GetItem")
def _item(at: At) -> Outputs:
    """Follow slices of axes without labels; an axis of channels must be taken whole."""
    key = decoded(at.args[1] if len(at.args) > 1 else at.kwargs.get("key"))
    keys = list(key) if isinstance(key, list | tuple) else [key]
    if any(isinstance(each, Traced) for each in keys):
        return None
    if Ellipsis not in keys:
        keys.append(Ellipsis)
    place = keys.index(Ellipsis)
    taken = sum(each is not None for each in keys) - 1
    keys[place : place + 1] = [slice(None)] * (len(at.x) - taken)
    axes, made = list(at.x), list[Axis]()
    for each in keys:
        if each is None:
            made.append(None)
            continue
        labels = axes.pop(0)
        if each == slice(None) or labels is None:
            made += [labels] if isinstance(each, slice) else []
        else:
            at.pin(labels, "takes some of these channels")
            made += [None] if isinstance(each, slice) else []
    return [made]


@OPERATIONS("Pad")
def _pad(at: At) -> Outputs:
    widths = at.config.get("pad_width")
    if not isinstance(widths, list) or len(widths) != len(at.x):
        return None
    if not all(isinstance(width, list) for width in widths):
        return None
    moved = [labels for labels, width in zip(at.x, widths, strict=True) if any(width)]
    at.pin(moved, "puts other channels beside them")
    kept = zip(at.x, widths, strict=True)
    return [[None if any(width) else labels for labels, width in kept]]
