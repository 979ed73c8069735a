"""`reshape` and `pad`: another shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from surgery.declared.fields import key
from surgery.errors import SelectorError
from surgery.ops._tables import drawn
from surgery.ops.base import WeightOp, op
from surgery.weights.arithmetic import need_floats
from surgery.weights.expressions import places
from surgery.weights.model import Model
from surgery.weights.slicing import Replaced
from surgery.weights.tables import with_moved
from surgery.weights.tensor import (
    Array,
    FunctionTensor,
    Mapped,
    Rearranged,
    Reduction,
    Tensor,
    chunk_ranges,
)
from surgery.weights.weight import Weight

Shape = tuple[int, ...]


@op
@dataclass(frozen=True, kw_only=True)
class Reshape(WeightOp):
    """Give the selected weights, and their optimizer state, another shape of as many elements."""

    to: tuple[int, ...] = key("The shape; -1 is the rest, in one place.", [25088, 4096])

    def __post_init__(self) -> None:
        if min(self.to, default=0) < -1 or self.to.count(-1) > 1:
            raise ValueError(f"{list(self.to)} is not a shape with -1 in at most one place")

    def changes(self, weights: Sequence[Weight]) -> int | None:
        return 0

    def apply(self, model: Model) -> Model:
        for weight in self.matched(model):
            model = with_moved(model, [weight], partial(_reshaped, shape=self._shape(weight)))
        return model

    def _shape(self, weight: Weight) -> Shape:
        """Return the new shape; raises SelectorError if it has another number of elements."""
        size, known = weight.tensor.size, math.prod(n for n in self.to if n >= 0)
        rest = size // known if -1 in self.to and known else 1
        shape = tuple(rest if n < 0 else n for n in self.to)
        if math.prod(shape) != size:
            raise SelectorError(
                f"{weight.address} is {list(weight.tensor.shape)}, which is not {list(self.to)}: "
                f"{size:,} elements"
            )
        return shape


def _reshaped(tensor: Tensor, shape: Shape) -> Tensor:
    return Mapped(tensor, lambda values, _: values, shape=shape)


@op
@dataclass(frozen=True, kw_only=True)
class Pad(WeightOp):
    """Make the selected weights larger, behind their elements; optimizer state grows by zeros."""

    to: tuple[int, ...] = key("The new shape, no smaller along any axis.", [32000, 512])
    with_: str = key(
        "What the new elements are: zero, mean (along the axes that grow), or drawn by a class of "
        "keras.initializers.",
        "mean",
        default="zero",
    )
    arguments: Mapping[str, Any] | None = key(
        "The initialiser's arguments, as in Keras.", {"stddev": 0.02}, default=None
    )

    def changes(self, weights: Sequence[Weight]) -> int | None:
        return sum(math.prod(self.to) - weight.tensor.size for weight in weights)

    def apply(self, model: Model) -> Model:
        weights = self.matched(model)
        for weight in weights:
            shape = weight.tensor.shape
            if len(shape) != len(self.to) or any(
                new < old for new, old in zip(self.to, shape, strict=True)
            ):
                raise SelectorError(
                    f"{weight.address} is {list(shape)}, which does not grow to {list(self.to)}; "
                    "split makes it smaller, reshape gives it other axes"
                )
        grown = with_moved(model, weights, lambda tensor: self._grown(tensor, _zeros))
        return grown.with_weights(
            grown[weight.address].with_tensor(self._padded(weight)) for weight in weights
        )

    def _padded(self, weight: Weight) -> Tensor:
        if weight.tensor.shape == self.to:
            return weight.tensor
        if self.with_ == "zero":
            return self._grown(weight.tensor, _zeros)
        if self.with_ == "mean":
            need_floats([weight], "pad with mean")
            return self._grown(weight.tensor, _means)
        like = self.to, weight.tensor.dtype
        new = drawn(self.with_, self.arguments, like, self.draws, weight.address)
        return self._grown(weight.tensor, lambda _tensor, _shape: new)

    def _grown(self, tensor: Tensor, fill: Callable[[Tensor, Shape], Tensor]) -> Tensor:
        axes = tuple(range(size) for size in tensor.shape)
        return Replaced(fill(tensor, self.to), axes, tensor)


def _zeros(tensor: Tensor, shape: Shape) -> Tensor:
    return FunctionTensor(
        shape, tensor.dtype, lambda start, stop: np.zeros(stop - start, tensor.dtype)
    )


def _means(tensor: Tensor, shape: Shape) -> Tensor:
    """Return the means along the axes that grow, repeated to the new shape."""
    kept = tuple(old if new == old else 1 for old, new in zip(tensor.shape, shape, strict=True))
    means = Reduction(lambda pool: _mean(tensor, kept, pool), tensor.passes)
    like = FunctionTensor(shape, tensor.dtype, lambda a, b: np.zeros(b - a, tensor.dtype))

    def read(_before: Tensor, start: int, stop: int) -> Array:
        return means.result()[places(shape, kept, start, stop)]

    return Rearranged(like, read, using=means)


def _mean(tensor: Tensor, kept: Shape, pool: Executor | None) -> Array:
    """Return the means over the axes of size 1 in `kept`, flat, added up in float64."""

    def added(span: tuple[int, int]) -> Array:
        where = places(tensor.shape, kept, *span)
        values = tensor.read(*span).astype(np.float64)
        return np.bincount(where, values, math.prod(kept))

    total = np.zeros(math.prod(kept))
    for part in (pool.map if pool else map)(added, chunk_ranges(tensor.size)):
        total += part
    with np.errstate(invalid="ignore", divide="ignore"):
        return (total / (tensor.size / max(1, math.prod(kept)))).astype(tensor.dtype)
