"""Sizes of a model before and after a step that changes its layers."""

from __future__ import annotations

from collections.abc import Mapping

from surgery.architecture.graph.nodes import nodes
from surgery.weights.model import Model
from surgery.weights.shapes import shapes_of

Sizes = Mapping[str, tuple[int | None, int | None]]


def sizes_changed(before: Model, after: Model) -> Sizes:
    """Return the numbers of layers, parameters, bytes and FLOPs of both models.

    FLOPs are those of one example, a multiplication and an addition being two; None where the
    config does not tell them.
    """
    old, new = _sizes(before), _sizes(after)
    return {name: (old[name], new[name]) for name in old}


def _sizes(model: Model) -> dict[str, int | None]:
    return model.once(_counted)


def _counted(model: Model) -> dict[str, int | None]:
    architecture = model.need_architecture("its layers are counted")
    shapes = shapes_of(model)
    return {
        "layers": sum(1 for _ in nodes(architecture)),
        "parameters": model.parameters,
        "bytes": model.nbytes,
        "flops": None if shapes is None else shapes.total,
    }
