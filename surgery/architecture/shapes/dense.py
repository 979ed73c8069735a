"""Dense layers and embeddings."""

from __future__ import annotations

import re
from typing import Any

from surgery.architecture.shapes.registry import LAYERS, Shape
from surgery.architecture.shapes.sizes import as_list, count, known


@LAYERS.shape("Dense")
def _dense(inputs: Shape, *, units: int) -> Shape:
    return (*inputs[:-1], units)


@LAYERS.cost("Dense")
def _dense_cost(output: Shape, inputs: Shape, *, use_bias: bool = True) -> int:
    return count(output) * (2 * known(inputs)[-1] + bool(use_bias))


@LAYERS.shape("EinsumDense")
def _einsum(inputs: Shape, *, equation: str, output_shape: Any) -> Shape:
    given, _, _ = _parts(equation)
    elided = inputs[len(given.rstrip(".")) :] if given.endswith("...") else ()
    before = inputs[1 : len(inputs) - len(given) + 3] if given.startswith("...") else ()
    # Keras lists what `...` stands for the other way round.
    return (inputs[0], *reversed(before), *as_list(output_shape), *elided)


@LAYERS.cost("EinsumDense")
def _einsum_cost(output: Shape, inputs: Shape, *, equation: str, bias_axes: Any = None) -> int:
    given, _, made = _parts(equation)
    sizes = dict(_labelled(given, inputs))
    summed = [size for label, size in sizes.items() if label not in made]
    # Keras may not know a size of the output that is one of the input.
    kept = [sizes.get(label, size) for label, size in _labelled(made, output)]
    rest = inputs[len(sizes) :] if given.endswith("...") else inputs[: len(inputs) - len(sizes)]
    return count([*kept, *rest]) * (2 * count(summed) + bool(bias_axes))


def _labelled(labels: str, shape: Shape) -> list[tuple[str, int | None]]:
    """Return the sizes that have a letter; `...` stands at one end for the others."""
    letters = labels.strip(".")
    sizes = shape[len(shape) - len(letters) :] if labels.startswith("...") else shape
    return list(zip(letters, sizes, strict=False))


def _parts(equation: str) -> list[str]:
    """Return what the inputs, the kernel and the outputs of an equation are labelled with."""
    found = re.fullmatch(r"([\w.]+),(\w+)->([\w.]+)", equation.replace(" ", ""))
    if found is None:
        raise ValueError(equation)
    return list(found.groups())


@LAYERS.shape("Embedding")
def _embedding(inputs: Shape, *, output_dim: int) -> Shape:
    return (*inputs, output_dim)


@LAYERS.cost("Embedding")
def _embedding_cost(_output: Shape) -> int:
    return 0


@LAYERS.shape("ReversibleEmbedding")
def _reversible(inputs: Shape, reverse: bool = False, *, input_dim: int, output_dim: int) -> Shape:
    return (*inputs[:-1], input_dim) if reverse else (*inputs, output_dim)


@LAYERS.cost("ReversibleEmbedding")
def _reversible_cost(output: Shape, inputs: Shape, reverse: bool = False) -> int:
    return 2 * count(output) * known(inputs)[-1] if reverse else 0
