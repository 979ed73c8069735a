"""The dtype in which ops compute, and the rounding of their results."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from surgery.errors import SelectorError
from surgery.weights.tensor import Array, ChunkFunction, Span
from surgery.weights.weight import Weight

FLOATS = ("float16", "bfloat16", "float32", "float64")


def is_float(dtype: np.dtype[Any]) -> bool:
    """Return True for the floating dtypes that ops compute with."""
    return dtype.name in FLOATS


def is_whole(dtype: np.dtype[Any]) -> bool:
    """Return True for integers and booleans: quantised weights, counters."""
    return dtype.name.startswith(("int", "uint", "bool"))


def finfo(dtype: np.dtype[Any]) -> Any:
    """Return the limits of a floating dtype, including those of ml_dtypes."""
    if dtype.kind in "fc":
        return np.finfo(dtype)
    import ml_dtypes

    return ml_dtypes.finfo(dtype)


def compute_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return float32 for float16 and bfloat16, else the dtype itself."""
    return np.dtype(np.float32) if dtype.name in ("float16", "bfloat16") else dtype


def arithmetic(function: Callable[[Array], Array]) -> ChunkFunction:
    """Make a chunk function that computes half floats in float32 and rounds to nearest even."""

    def apply(values: Array, _start: int) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):
            wide = values.astype(compute_dtype(values.dtype), copy=False)
            return function(wide).astype(values.dtype, copy=False)

    return apply


def with_number(function: Callable[[Array, Any], Array], number: float) -> ChunkFunction:
    """Make a chunk function `function(elements, number)`, computed as by `arithmetic`.

    It computes in float64 if the elements' dtype would make the number infinite, zero or
    subnormal, because the result may still be an ordinary number.
    """

    def apply(values: Array, start: int) -> Array:
        dtype = compute_dtype(values.dtype)
        least, most = float(np.finfo(dtype).tiny), float(np.finfo(dtype).max)
        if number == 0 or least <= abs(number) <= most:
            return arithmetic(lambda wide: function(wide, dtype.type(number)))(values, start)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            wide = function(values.astype(np.float64), np.float64(number))
            return wide.astype(values.dtype)

    return apply


def held(number: float, dtype: np.dtype[Any]) -> float:
    """Round a number to a floating dtype; return it unchanged if that would be infinite.

    Comparing with the rounded number makes 0.1 stored in float16 not above 0.1.
    """
    if not is_float(dtype):
        return number
    with np.errstate(over="ignore"):
        nearest = float(dtype.type(number))
    return nearest if math.isfinite(nearest) else number


def goes_into(dtype: np.dtype[Any], other: np.dtype[Any]) -> bool:
    """Return whether a cast from one dtype to another only rounds.

    A cast between integers and floats does not, as one of them is quantised.
    """
    if is_whole(dtype) or is_whole(other):
        return is_whole(dtype) and is_whole(other) and bool(np.can_cast(dtype, other, "safe"))
    return dtype.kind != "c" or other.kind == "c"


def scaled_columns(width: int, columns: Sequence[Span], factor: float) -> ChunkFunction:
    """Make a chunk function that multiplies ranges of a last axis of length `width`."""
    row = np.ones(width)
    for first, last in columns:
        row[first:last] = factor

    def apply(values: Array, start: int) -> Array:
        factors = np.resize(np.roll(row, -start), values.size)
        scale = arithmetic(lambda wide: wide * factors.astype(wide.dtype))
        return scale(values, start)

    return apply


def need_floats(weights: Iterable[Weight], op: str) -> None:
    """Raise SelectorError if a weight is not floating."""
    for weight in weights:
        if not is_float(weight.tensor.dtype):
            raise SelectorError(
                f"{weight.address} is {weight.tensor.dtype.name}, and {op} computes with floats "
                "only; integer and quantised weights take zero and set; narrow the selector, "
                "for example with dtype: float32"
            )
