"""Layers that call another layer."""

from __future__ import annotations

from typing import Any

from surgery.architecture.shapes.registry import LAYERS, Entry, Shape, flops, output_shapes
from surgery.architecture.shapes.sizes import known


@LAYERS.shape("TimeDistributed")
def _each_step(inputs: Shape, *, layer: Entry) -> Shape:
    batch, steps, *rest = inputs
    made = output_shapes(layer, [(batch, *rest)], {})
    return (made[0], steps, *made[1:])


@LAYERS.cost("TimeDistributed")
def _each_step_cost(_output: Any, inputs: Shape, *, layer: Entry) -> int:
    batch, steps, *rest = known(inputs)
    return steps * _cost(layer, (batch, *rest))


@LAYERS.shape("SpectralNormalization")
def _wrapped(inputs: Any, *, layer: Entry) -> Any:
    return output_shapes(layer, [inputs], {})


@LAYERS.cost("SpectralNormalization")
def _wrapped_cost(_output: Any, inputs: Any, *, layer: Entry) -> int:
    return _cost(layer, inputs)


@LAYERS.shape("Pipeline")
def _one_after_another(inputs: Any, *, layers: list[Entry]) -> Any:
    for layer in layers:
        inputs = output_shapes(layer, [inputs], {})
    return inputs


@LAYERS.shape("Bidirectional")
def _both_ways(sequences: Any, *, layer: Entry, merge_mode: str | None = "concat") -> Any:
    made = output_shapes(layer, [sequences], {})
    output, states = (made[0], made[1:]) if isinstance(made, list) else (made, [])
    if merge_mode == "concat":
        output = (*output[:-1], output[-1] * 2)
    outputs = [output] if merge_mode else [output, output]
    # Keras takes the states of the backward layer for those of the forward one.
    return [*outputs, *states, *states] if states or not merge_mode else output


@LAYERS.cost("Bidirectional")
def _both_ways_cost(
    _outputs: Any, sequences: Any, *, layer: Entry, backward_layer: Entry | None = None
) -> int:
    forward = _cost(layer, sequences)
    return forward + (_cost(backward_layer, sequences) if backward_layer else forward)


def _cost(layer: Entry, inputs: Any) -> int:
    cost = flops(layer, [inputs], {}, output_shapes(layer, [inputs], {}))
    if cost is None:
        raise ValueError(layer["class_name"])
    return cost
