"""Which dtype arithmetic is done in, and how a result is rounded back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from surgery.errors import SelectorError
from surgery.weights.tensor import Array, ChunkFunction, Span
from surgery.weights.weight import Weight

FLOATS = ("float16", "bfloat16", "float32", "float64")


def is_float(dtype: np.dtype[Any]) -> bool:
    """True for the floating dtypes that ops compute with."""
    return dtype.name in FLOATS


def compute_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """float32 for float16 and bfloat16, else the dtype itself."""
    return np.dtype(np.float32) if dtype.name in ("float16", "bfloat16") else dtype


def arithmetic(function: Callable[[Array], Array]) -> ChunkFunction:
    """A chunk function that computes half floats in float32 and rounds to nearest even."""

    def apply(values: Array, _start: int) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):
            wide = values.astype(compute_dtype(values.dtype), copy=False)
            return function(wide).astype(values.dtype, copy=False)

    return apply


def scaled_columns(width: int, columns: Sequence[Span], factor: float) -> ChunkFunction:
    """A chunk function that multiplies those places on a last axis of that width."""
    row = np.ones(width)
    for first, last in columns:
        row[first:last] = factor

    def apply(values: Array, start: int) -> Array:
        factors = np.resize(np.roll(row, -start), values.size)
        scale = arithmetic(lambda wide: wide * factors.astype(wide.dtype))
        return scale(values, start)

    return apply


def need_floats(weights: Iterable[Weight], op: str) -> None:
    """Raise SelectorError for a weight that the op cannot compute with."""
    for weight in weights:
        if not is_float(weight.tensor.dtype):
            raise SelectorError(
                f"{weight.address} is {weight.tensor.dtype.name}, and {op} computes with floats "
                "only; integer and quantised weights take zero and set; narrow the selector, "
                "for example with dtype: float32"
            )
