"""Attention."""

from __future__ import annotations

from typing import Any

from surgery.architecture.shapes.registry import LAYERS, Shape
from surgery.architecture.shapes.sizes import as_list, count, known


@LAYERS.shape("MultiHeadAttention")
def _multi_head(
    query: Shape,
    value: Shape,
    key: Shape | None = None,
    query_mask: Any = None,
    value_mask: Any = None,
    key_mask: Any = None,
    attention_mask: Any = None,
    return_attention_scores: bool = False,
    *,
    num_heads: int,
    output_shape: Any = None,
) -> Any:
    output = (*query[:-1], *as_list(output_shape)) if output_shape else query
    # Keras says that keys are as many as queries.
    scores = (query[0], num_heads, query[1], query[1])
    return [output, scores] if return_attention_scores else output


@LAYERS.shape("GroupedQueryAttention")
def _grouped_query(
    query: Shape,
    value: Shape,
    key: Shape | None = None,
    query_mask: Any = None,
    value_mask: Any = None,
    key_mask: Any = None,
    attention_mask: Any = None,
    return_attention_scores: bool = False,
    *,
    num_query_heads: int,
) -> Any:
    scores = (query[0], num_query_heads, query[1], (key or value)[1])
    return [query, scores] if return_attention_scores else query


@LAYERS.shape("Attention", "AdditiveAttention")
def _attention(inputs: list[Shape], mask: Any = None, return_attention_scores: bool = False) -> Any:
    query, value, key = [*inputs, inputs[1]][:3]
    output = (*query[:-1], value[-1])
    return [output, (*query[:-1], key[-2])] if return_attention_scores else output


@LAYERS.cost("MultiHeadAttention")
def _multi_head_cost(
    _output: Any,
    query: Shape,
    value: Shape,
    key: Shape | None = None,
    *,
    num_heads: int,
    key_dim: int,
    value_dim: int | None = None,
    output_shape: Any = None,
    attention_axes: Any = None,
    use_bias: bool = True,
    use_gate: bool = False,
) -> int:
    """Count the projections, the scores, and what is summed by them."""
    if attention_axes is not None and as_list(attention_axes) != list(range(1, len(query) - 1)):
        raise ValueError(attention_axes)
    made = count(as_list(output_shape)) if output_shape else known(query)[-1]
    sizes = (key_dim, value_dim or key_dim)
    heads = (num_heads, num_heads)
    return _projected(query, value, key, heads, sizes, made, use_bias, use_gate)


@LAYERS.cost("GroupedQueryAttention")
def _grouped_query_cost(
    _output: Any,
    query: Shape,
    value: Shape,
    key: Shape | None = None,
    *,
    num_query_heads: int,
    num_key_value_heads: int,
    head_dim: int,
    use_bias: bool = True,
    use_gate: bool = False,
) -> int:
    heads, sizes = (num_query_heads, num_key_value_heads), (head_dim, head_dim)
    return _projected(query, value, key, heads, sizes, known(query)[-1], use_bias, use_gate)


def _projected(
    query: Shape,
    value: Shape,
    key: Shape | None,
    heads: tuple[int, int],
    sizes: tuple[int, int],
    made: int,
    use_bias: bool,
    use_gate: bool,
) -> int:
    """Return the cost of attention with projections.

    `heads` are those of the queries and those of keys and values, `sizes` the sizes of a key and
    a value, `made` that of an output.
    """
    known([*heads, *sizes, made])  # raises where one is no number
    queries, values = count(query[:-1]), count(value[:-1])
    seen = count(value[1:-1])  # by each query
    query_size, value_size = heads[0] * sizes[0], heads[0] * sizes[1]
    dense = [
        (queries, query[-1], query_size),
        (values, (key or value)[-1], heads[1] * sizes[0]),
        (values, value[-1], heads[1] * sizes[1]),
        (queries, value_size, made),
        *([(queries, query[-1], value_size)] if use_gate else []),
    ]
    projections = sum(
        places * outputs * (2 * known([inputs])[0] + bool(use_bias))
        for places, inputs, outputs in dense
    )
    return projections + 2 * queries * seen * (query_size + value_size)


@LAYERS.cost("Attention")
def _attention_cost(_output: Any, inputs: list[Shape], *, score_mode: str = "dot") -> int:
    query, value, key = [known(shape) for shape in [*inputs, inputs[1]]][:3]
    pairs = count(query[:-1]) * key[-2]
    # A score is a product of two vectors; or a sum, and tanh, and a sum over all.
    score = {"dot": 2, "concat": 3}[score_mode] * query[-1]
    return pairs * (score + 2 * value[-1])


@LAYERS.cost("AdditiveAttention")
def _additive_cost(_output: Any, inputs: list[Shape], *, use_scale: bool = True) -> int:
    query, value, key = [known(shape) for shape in [*inputs, inputs[1]]][:3]
    pairs = count(query[:-1]) * key[-2]
    return pairs * ((3 if use_scale else 2) * query[-1] + 2 * value[-1])
