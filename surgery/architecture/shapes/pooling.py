"""Pooling."""

from __future__ import annotations

from typing import Any

from surgery.architecture.shapes.registry import LAYERS, Shape
from surgery.architecture.shapes.sizes import joined, numbers, reduced, split, window

POOLING = tuple(f"{kind}Pooling{n}D" for kind in ("Average", "Max") for n in (1, 2, 3))
GLOBAL = tuple(f"Global{name}" for name in POOLING)
ADAPTIVE = tuple(f"Adaptive{name}" for name in POOLING)


@LAYERS.shape(*POOLING)
def pooled(
    inputs: Shape,
    *,
    pool_size: Any,
    strides: Any = None,
    padding: str = "valid",
    data_format: Any = None,
) -> Shape:
    """Return the shape after pooling."""
    batch, space, channels = split(inputs, data_format)
    pools = numbers(pool_size, len(space))
    steps = pools if strides is None else numbers(strides, len(space))
    sides = zip(space, pools, steps, strict=True)
    made = [window(size, pool, step, padding) for size, pool, step in sides]
    return joined(batch, made, channels, data_format)


@LAYERS.shape(*GLOBAL)
def _global(inputs: Shape, *, data_format: Any = None, keepdims: bool = False) -> Shape:
    first = 2 if data_format == "channels_first" else 1
    return reduced(inputs, list(range(first, first + len(inputs) - 2)), keepdims)


@LAYERS.shape(*ADAPTIVE)
def _adapted(inputs: Shape, *, output_size: Any, data_format: Any = None) -> Shape:
    batch, space, channels = split(inputs, data_format)
    return joined(batch, numbers(output_size, len(space)), channels, data_format)
