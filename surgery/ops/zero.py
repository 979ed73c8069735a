"""`zero`: all elements, or some of them: pruning."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Literal

import numpy as np

from surgery.declaration import Share, key
from surgery.errors import SelectorError
from surgery.ops._base import WeightOp, op
from surgery.weights.arithmetic import is_float, need_floats
from surgery.weights.channels import norms, output_channels
from surgery.weights.model import Model
from surgery.weights.ranking import Lowest, lowest, passes_to_rank
from surgery.weights.tensor import (
    Array,
    ChunkFunction,
    Computed,
    Mapped,
    Rearranged,
    Reduction,
    Tensor,
    in_blocks,
)
from surgery.weights.weight import Weight

_WAYS = ("lowest", "keep", "random", "channels", "n_of_m", "below", "above")


@op
@dataclass(frozen=True, kw_only=True)
class Zero(WeightOp):
    """Set the selected weights to zero: all of them, or the part that one key names."""

    lowest: Share | None = key(
        "Only this share of the elements, those of lowest magnitude: exactly floor(share x n), "
        "ties going to the lower flat index.",
        "10%",
        default=None,
        in_example=True,
    )
    keep: Share | None = key(
        "All but this share, that of highest magnitude: exactly floor(share x n) are kept.",
        "20%",
        default=None,
    )
    random: Share | None = key(
        "This share of the elements, drawn at random: exactly floor(share x n).",
        "10%",
        default=None,
    )
    channels: Share | None = key(
        "This share of the output channels, whole ones, those of lowest norm.",
        "25%",
        default=None,
    )
    norm: Literal["l1", "l2"] = key(
        "With channels: the norm by which they are ranked.", "l1", default="l2"
    )
    n_of_m: str | None = key(
        "Of every m weights in a row along the input, keep the n of highest magnitude.",
        "2:4",
        default=None,
        pattern=r"^\d+:\d+$|^\$\{[^}]+\}$",
    )
    below: float | None = key(
        "The elements whose magnitude is below this.", 0.001, default=None, minimum=0
    )
    above: float | None = key(
        "The elements whose magnitude is above this.", 3.0, default=None, minimum=0
    )
    scope: Literal["tensor", "global"] = key(
        "With lowest and keep: whether each weight gives its own share, or all selected weights "
        "are ranked together.",
        "global",
        default="tensor",
    )

    def __post_init__(self) -> None:
        given = self._given()
        if len(given) > 1 and set(given) != {"below", "above"}:
            raise ValueError(f"{' and '.join(given)} do not go together; give one")
        if self.n_of_m is not None:
            n, m = self._n_and_m()
            if not 0 < n < m <= 1024:
                raise ValueError(f"{self.n_of_m} is not n:m with n below m, such as 2:4")

    def apply(self, model: Model) -> Model:
        weights = self.matched(model)
        way = next(iter(self._given()), "all")
        if way == "all":
            return model.map(weights, lambda values, _: np.zeros_like(values))
        if way in ("lowest", "keep"):
            groups = [weights] if self.scope == "global" else [[weight] for weight in weights]
            for group in groups:
                model = self._zero_lowest(model, group)
            return model
        need_floats(weights, self.name)
        make: Callable[[Model, Weight], Mapped] = {
            "random": self._at_random,
            "channels": self._by_channels,
            "n_of_m": self._n_of_m,
            "below": self._by_threshold,
            "above": self._by_threshold,
        }[way]
        return model.with_weights(weight.with_tensor(make(model, weight)) for weight in weights)

    def changes(self, weights: Sequence[Weight]) -> int | None:
        sizes = [weight.tensor.size for weight in weights]
        if self.n_of_m is not None:
            n, m = self._n_and_m()
            return sum(size // m * (m - n) for size in sizes)
        if self.channels is not None or self.below is not None or self.above is not None:
            return None
        groups = [sum(sizes)] if self.scope == "global" else sizes
        return sum(self._count(size) for size in groups)

    def _given(self) -> list[str]:
        return [way for way in _WAYS if getattr(self, way) is not None]

    def _count(self, size: int) -> int:
        """How many of so many elements become zero."""
        if self.keep is not None:
            return size - math.floor(self.keep.fraction * size)
        share = self.lowest or self.random
        return size if share is None else math.floor(share.fraction * size)

    def _zero_lowest(self, model: Model, weights: Sequence[Weight]) -> Model:
        """Rank those weights together."""
        if not weights:
            return model
        tensors = _rankable([weight.tensor for weight in weights])
        ranked = _ranked(tensors, self.changes(weights) or 0)
        numbers = {weight.address: number for number, weight in enumerate(weights)}

        def zeroing(weight: Weight) -> ChunkFunction:
            number = numbers[weight.address]
            return lambda values, start: ranked.result().zeroed(values, number, start)

        return model.map_each(weights, zeroing, using=ranked)

    def _at_random(self, _model: Model, weight: Weight) -> Mapped:
        tensor = weight.tensor
        drawn = self.draws.tensor(
            tensor.shape,
            np.dtype(np.float32),
            # Never zero, which ranks below all and would not be told apart.
            lambda random, size: 1 - random.random(size, np.float32),
            weight.address,
        )
        ranked = _ranked([drawn], self._count(tensor.size))

        def zero(values: Array, start: int) -> Array:
            numbers = drawn.read(start, start + values.size)
            kept = ranked.result().zeroed(numbers, 0, start) != 0
            return np.where(kept, values, values.dtype.type(0))

        return Mapped(tensor, zero, ranked)

    def _by_channels(self, model: Model, weight: Weight) -> Mapped:
        tensor, channels = weight.tensor, output_channels(model, weight)
        share = (self.channels or Share.parse(0)).fraction

        def lowest_channels(pool: Executor | None) -> Array:
            found = norms(tensor, channels, self.norm, pool)
            chosen = np.zeros(channels.count, bool)
            chosen[np.argsort(found, kind="stable")[: math.floor(share * channels.count)]] = True
            return chosen

        chosen = Reduction(lowest_channels, 1)

        def zero(values: Array, start: int) -> Array:
            gone = chosen.result()[channels.of(start, values.size)]
            return np.where(gone, values.dtype.type(0), values)

        return Mapped(tensor, zero, chosen)

    def _n_of_m(self, _model: Model, weight: Weight) -> Rearranged:
        n, m = self._n_and_m()
        shape = weight.tensor.shape
        if len(shape) < 2 or shape[-2] % m:
            raise SelectorError(
                f"{weight.address} is {list(shape)}: its inputs (the last axis but one) are not "
                f"in groups of {m}; narrow the selector"
            )

        def zero(values: Array, _start: int) -> Array:
            groups = values.reshape(-1, m, shape[-1])
            ranks = np.argsort(np.abs(groups.astype(np.float64)), axis=1, kind="stable")
            result = groups.copy()
            np.put_along_axis(result, ranks[:, : m - n], 0, axis=1)
            return result.reshape(-1)

        return Rearranged(weight.tensor, in_blocks(m * shape[-1], zero))

    def _by_threshold(self, _model: Model, weight: Weight) -> Mapped:
        def zero(values: Array, _start: int) -> Array:
            size = np.abs(values.astype(np.float64))
            gone = np.zeros(values.shape, bool)
            if self.below is not None:
                gone |= size < self.below
            if self.above is not None:
                gone |= size > self.above
            return np.where(gone, values.dtype.type(0), values)

        return Mapped(weight.tensor, zero)

    def _n_and_m(self) -> tuple[int, int]:
        n, m = re.findall(r"\d+", self.n_of_m or "0:0")
        return int(n), int(m)


def _ranked(tensors: Sequence[Tensor], count: int) -> Reduction[Lowest]:
    def rank(pool: Executor | None) -> Lowest:
        return lowest(tensors, count, pool)

    size = sum(tensor.size for tensor in tensors)
    return Reduction(rank, passes_to_rank(tensors[0].dtype, size))


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
