"""Attention: what it is given and what it returns; heads and their sizes stay."""

from __future__ import annotations

from surgery.architecture.variables import quantization_mode
from surgery.structure.calls import LAYERS, At, Outputs
from surgery.structure.labels import Traced


@LAYERS("MultiHeadAttention")
def _multi_head(at: At) -> Outputs:
    size = at.config.get("output_shape")
    sizes = size if isinstance(size, list) else [size]
    query = _projected(at)
    if query is None or len(sizes) != 1:
        return None
    rank = len(query.labels)
    out = at.make(int(sizes[0] or (query.shape or (0,))[-1] or 0))
    at.cut("attention_output/kernel", 2, out, "out")
    at.cut("attention_output/bias", 0, out, "along")
    at.edit("output_shape", (out,))
    return [at.placed(out, rank - 1, rank)]


def _projected(at: At) -> Traced | None:
    """Cut the kernels that read query, key and value; return the query."""
    given = at.named(("query", "value", "key"))
    if quantization_mode(at.config) or not {"query", "value"} <= set(given):
        return None
    given.setdefault("key", given["value"])
    for name in ("query", "key", "value"):
        axes = given[name].labels
        labels = at.read(at.only(len(axes) - 1, axes), name)
        at.cut(f"{name}/kernel", 0, labels, "in")
        if name == "query":
            at.cut("gate/kernel", 0, labels, "in")
    for name, tensor in given.items():
        if name not in ("query", "key", "value"):
            at.pin(tensor.labels, f"is given them as {name}")
    return given["query"]


@LAYERS("GroupedQueryAttention")
def _grouped_query(at: At) -> Outputs:
    """Follow a layer that returns as many channels as its query has."""
    query = _projected(at)
    if query is None:
        return None
    labels, rank = query.labels[-1], len(query.labels)
    if labels is None:
        return [[None] * rank]
    at.cut("attention_output/kernel", 2, labels, "out")
    at.cut("attention_output/bias", 0, labels, "along")
    return [at.placed(labels, rank - 1, rank)]


@LAYERS("AdditiveAttention", "Attention")
def _products(at: At) -> Outputs:
    """Follow the value; the scores are sums over all channels of query and key."""
    query, value, *key = at.tensors
    for tensor in (query, *(key or [value])):
        at.pin(tensor.labels, "adds up what these channels make")
    labels = at.only(len(value.labels) - 1, value.labels)
    return [at.placed(labels, len(query.labels) - 1, len(query.labels))]
