"""`zero`: all elements, or the share of lowest magnitude."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Literal

import numpy as np

from surgery.declaration import Share, key
from surgery.ops._base import Op, op
from surgery.weights.arithmetic import is_float
from surgery.weights.model import Model, Weight
from surgery.weights.ranking import Lowest, lowest, passes_to_rank
from surgery.weights.tensor import Array, ChunkFunction, Computed, Reduction, Tensor


@op
@dataclass(frozen=True, kw_only=True)
class Zero(Op):
    """Set the selected weights, or their share of lowest magnitude, to zero."""

    lowest: Share | None = key(
        "Only this share of the elements, those of lowest magnitude: exactly floor(share x n), "
        "ties going to the lower flat index. Without it, all elements.",
        "10%",
        default=None,
    )
    scope: Literal["tensor", "global"] = key(
        "Whether each weight gives its own share, or all selected weights are ranked together.",
        "global",
        default="tensor",
    )

    def apply(self, model: Model) -> Model:
        weights = self.matched(model)
        if self.lowest is None:
            return model.map(weights, lambda values, _: np.zeros_like(values))
        if self.scope == "tensor":
            for weight in weights:
                model = self._zero_lowest(model, [weight])
            return model
        return self._zero_lowest(model, weights)

    def changes(self, weights: Sequence[Weight]) -> int | None:
        if self.lowest is None:
            return super().changes(weights)
        sizes = [weight.tensor.size for weight in weights]
        groups = sizes if self.scope == "tensor" else [sum(sizes)]
        return sum(math.floor(self.lowest.fraction * size) for size in groups)

    def _zero_lowest(self, model: Model, weights: Sequence[Weight]) -> Model:
        """Rank those weights together."""
        if not weights:
            return model
        tensors = _rankable([weight.tensor for weight in weights])
        count = self.changes(weights) or 0

        def rank(pool: Executor | None) -> Lowest:
            return lowest(tensors, count, pool)

        size = sum(tensor.size for tensor in tensors)
        ranked = Reduction(rank, passes_to_rank(tensors[0].dtype, size))
        numbers = {weight.address: number for number, weight in enumerate(weights)}

        def zeroing(weight: Weight) -> ChunkFunction:
            number = numbers[weight.address]
            return lambda values, start: ranked.result().zeroed(values, number, start)

        return model.map_each(weights, zeroing, using=ranked)


def _rankable(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """The tensors in one floating dtype: their own if they share it, else float64."""
    first = tensors[0].dtype
    if is_float(first) and all(tensor.dtype == first for tensor in tensors):
        return tensors
    return [_as_float64(tensor) for tensor in tensors]


def _as_float64(tensor: Tensor) -> Tensor:
    def read(start: int, stop: int) -> Array:
        return tensor.read(start, stop).astype(np.float64)

    return Computed(tensor.shape, np.dtype(np.float64), read)
