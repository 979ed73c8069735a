"""`zero`: set all or some elements to zero (pruning)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from surgery.declared.fields import Share, key
from surgery.errors import SelectorError
from surgery.ops._channels import taken_along, with_channels, zeroed
from surgery.ops._slices import SlicedFloatOp
from surgery.ops.base import op
from surgery.weights.arithmetic import held
from surgery.weights.channels import axes
from surgery.weights.model import Model
from surgery.weights.ranking import Lowest, lowest, passes_to_rank
from surgery.weights.tensor import (
    Array,
    ChunkFunction,
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
class Zero(SlicedFloatOp):
    """Set the selected weights to zero: all elements, or those chosen by one key."""

    lowest: Share | None = key(
        "This share of the elements, of lowest magnitude: exactly floor(share x n); "
        "of equal ones, those with lower flat index.",
        "10%",
        default=None,
        in_example=True,
    )
    keep: Share | None = key(
        "All but this share of highest magnitude: exactly floor(share x n) are kept.",
        "20%",
        default=None,
    )
    random: Share | None = key(
        "This share of the elements, drawn at random: exactly floor(share x n).",
        "10%",
        default=None,
    )
    channels: Share | None = key(
        "This share of each layer's output channels, those whose kernels have the "
        "lowest norm; the same ones in kernel and bias.",
        "25%",
        default=None,
    )
    norm: Literal["l1", "l2"] = key(
        "With channels: the norm by which they are ranked.", "l1", default="l2"
    )
    with_norm: bool = key(
        "With channels: zero also the layer's bias, and gamma and beta of the BatchNormalization "
        "behind it, in the same channels, so that these output zero.",
        True,
        default=False,
    )
    n_of_m: str | None = key(
        "Of every m consecutive elements along the kernel's input axis, keep the n of highest "
        "magnitude.",
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
        "With lowest and keep: rank each weight by itself, or all selected weights together.",
        "global",
        default="tensor",
    )

    def __post_init__(self) -> None:
        given = self._given()
        if len(given) > 1 and set(given) != {"below", "above"}:
            raise ValueError(f"{' and '.join(given)} do not go together; give one")
        if self.with_norm and self.channels is None:
            raise ValueError("with_norm requires channels")
        if self.slice is not None and (self.channels is not None or self.n_of_m is not None):
            raise ValueError(f"{given[0]} goes by whole layers; it takes no slice")
        if self.n_of_m is not None:
            n, m = self._n_and_m()
            if not 0 < n < m <= 1024:
                raise ValueError(f"{self.n_of_m} is not n:m with n below m, such as 2:4")

    @property
    def only_floats(self) -> bool:
        return self._way not in ("all", "lowest", "keep")

    def matched(self, model: Model) -> tuple[Weight, ...]:
        weights = super().matched(model)
        return (*weights, *self._taken_along(model, weights)) if self.with_norm else weights

    def changed(self, model: Model, weights: Sequence[Weight]) -> Model:
        if self._way == "all":
            return model.map(weights, lambda values, _: np.zeros_like(values))
        if self._way == "channels":
            return self._zero_channels(model, weights)
        if self._way in ("lowest", "keep"):
            groups = [weights] if self.scope == "global" else [[weight] for weight in weights]
            return model.with_weights(
                each for group in groups for each in self._lowest_zeroed(group)
            )
        make: Callable[[Model, Weight], Mapped] = {
            "random": self._at_random,
            "n_of_m": self._n_of_m,
            "below": self._by_threshold,
            "above": self._by_threshold,
        }[self._way]
        return model.with_weights(weight.with_tensor(make(model, weight)) for weight in weights)

    def changes(self, weights: Sequence[Weight]) -> int | None:
        return self._changes(self.sliced(weights))

    def _changes(self, weights: Sequence[Weight]) -> int | None:
        sizes = [weight.tensor.size for weight in weights]
        if self.n_of_m is not None:
            n, m = self._n_and_m()
            return sum(size // m * (m - n) for size in sizes)
        if self.channels is not None or self.below is not None or self.above is not None:
            return None
        groups = [sum(sizes)] if self.scope == "global" else sizes
        return sum(self._count(size) for size in groups)

    @property
    def _way(self) -> str:
        return next(iter(self._given()), "all")

    def _given(self) -> list[str]:
        return [way for way in _WAYS if getattr(self, way) is not None]

    def _count(self, size: int) -> int:
        """Return how many of `size` elements become zero."""
        if self.keep is not None:
            return size - math.floor(self.keep.fraction * size)
        share = self.lowest or self.random
        return size if share is None else math.floor(share.fraction * size)

    def _lowest_zeroed(self, weights: Sequence[Weight]) -> list[Weight]:
        """Return the weights, ranked together, with the lowest elements zeroed."""
        if not weights:
            return []
        ranked = _ranked([weight.tensor for weight in weights], self._changes(weights) or 0)

        def zeroing(number: int) -> ChunkFunction:
            return lambda values, start: ranked.result().zeroed(values, number, start)

        return [
            weight.with_tensor(Mapped(weight.tensor, zeroing(number), ranked))
            for number, weight in enumerate(weights)
        ]

    def _at_random(self, _model: Model, weight: Weight) -> Mapped:
        tensor = weight.tensor
        drawn = self.draws.tensor(
            tensor.shape,
            np.dtype(np.float32),
            # In (0, 1]: zeroed numbers must differ from drawn ones.
            lambda random, size: 1 - random.random(size, np.float32),
            weight.address,
        )
        ranked = _ranked([drawn], self._count(tensor.size))

        def zero(values: Array, start: int) -> Array:
            numbers = drawn.read(start, start + values.size)
            kept = ranked.result().zeroed(numbers, 0, start) != 0
            return np.where(kept, values, values.dtype.type(0))

        return Mapped(tensor, zero, ranked)

    def _zero_channels(self, model: Model, weights: Sequence[Weight]) -> Model:
        """Zero the lowest channels; each layer is ranked once, for all of its weights."""
        share = (self.channels or Share.parse(0)).fraction
        chosen: dict[str, Reduction[Array]] = {}
        changed = {}
        for weight, found in with_channels(model, weights, self.with_norm):
            first = found.kernels[0].address
            if first not in chosen:
                chosen[first] = found.lowest(model, share, self.norm)
            others = taken_along(model, found) if self.with_norm else []
            for each in (weight, *others):
                changed[each.address] = zeroed(each, model, chosen[first])
        return model.with_weights(changed.values())

    def _taken_along(self, model: Model, weights: Sequence[Weight]) -> list[Weight]:
        """Return the weights that `with_norm` adds to the selected ones."""
        known = {weight.address for weight in weights}
        layers = with_channels(model, weights, self.with_norm)
        found = [each for _, layer in layers for each in taken_along(model, layer)]
        return list({each.address: each for each in found if each.address not in known}.values())

    def _n_of_m(self, model: Model, weight: Weight) -> Rearranged:
        n, m = self._n_and_m()
        shape, inputs = weight.tensor.shape, axes(model, weight).inputs
        run = [axis for axis in inputs if set(range(axis, inputs[-1])) <= set(inputs)]
        if not run or math.prod(shape[axis] for axis in run) % m:
            why = f"its inputs (axes {run}) are not divisible by {m}" if run else "it has no inputs"
            raise SelectorError(f"{weight.address} is {list(shape)}: {why}; narrow the selector")
        inner = math.prod(shape[run[-1] + 1 :])

        def zero(values: Array, _start: int) -> Array:
            groups = values.reshape(-1, m, inner)
            ranks = np.argsort(np.abs(groups.astype(np.float64)), axis=1, kind="stable")
            result = groups.copy()
            np.put_along_axis(result, ranks[:, : m - n], 0, axis=1)
            return result.reshape(-1)

        return Rearranged(weight.tensor, in_blocks(m * inner, zero))

    def _by_threshold(self, _model: Model, weight: Weight) -> Mapped:
        dtype = weight.tensor.dtype
        below = -math.inf if self.below is None else held(self.below, dtype)
        above = math.inf if self.above is None else held(self.above, dtype)

        def zero(values: Array, _start: int) -> Array:
            size = np.abs(values.astype(np.float64))
            return np.where((size < below) | (size > above), dtype.type(0), values)

        return Mapped(weight.tensor, zero)

    def _n_and_m(self) -> tuple[int, int]:
        n, m = re.findall(r"\d+", self.n_of_m or "0:0")
        return int(n), int(m)


def _ranked(tensors: Sequence[Tensor], count: int) -> Reduction[Lowest]:
    return Reduction(lambda pool: lowest(tensors, count, pool), passes_to_rank(tensors))
