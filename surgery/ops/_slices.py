"""Ops that may act on a slice of each weight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from surgery.declared.fields import key
from surgery.errors import SelectorError
from surgery.ops.base import FloatOp, WeightOp
from surgery.weights.model import Model
from surgery.weights.slicing import Axes, Replaced, Slice, sliced
from surgery.weights.tensor import Tensor
from surgery.weights.weight import Weight


@dataclass(frozen=True, kw_only=True)
class SlicedOp(WeightOp):
    """An op on the selected weights, or on the same slice of each."""

    slice: Slice | None = key(
        "Only these elements of each weight, as NumPy takes them: integers, ranges with a step, "
        "negative numbers, `...`. Shares are of the slice.",
        "[:, 0:10]",
        default=None,
    )

    @property
    def title(self) -> str:
        return f"{super().title}{self.slice or ''}"

    def changes(self, weights: Sequence[Weight]) -> int | None:
        return super().changes(self.sliced(weights))

    def sliced(self, weights: Sequence[Weight]) -> Sequence[Weight]:
        """Return the weights with only the elements of the slice; raises SelectorError."""
        if self.slice is None:
            return weights
        return [weight.with_tensor(self.part(weight, weight.tensor)) for weight in weights]

    def part(self, weight: Weight, tensor: Tensor) -> Tensor:
        """Return the slice of a tensor of the weight's shape; raises SelectorError."""
        return tensor if self.slice is None else sliced(tensor, *self._taken(weight))

    def within(
        self,
        model: Model,
        weights: Sequence[Weight],
        change: Callable[[Model, Sequence[Weight]], Model],
    ) -> Model:
        """Return the model after `change`, which is given a model that has only the slices."""
        if self.slice is None:
            return change(model, weights)
        parts = self.sliced(weights)
        changed = change(model.with_weights(parts), parts)
        return changed.with_weights(
            weight.with_tensor(
                Replaced(weight.tensor, self._taken(weight)[0], changed[weight.address].tensor)
            )
            for weight in weights
        )

    def _taken(self, weight: Weight) -> tuple[Axes, tuple[int, ...]]:
        assert self.slice is not None
        try:
            return self.slice.taken(weight.tensor.shape)
        except ValueError as error:
            raise SelectorError(f"{weight.address}: {error}") from None


@dataclass(frozen=True, kw_only=True)
class SlicedFloatOp(SlicedOp, FloatOp):
    """An op that computes with floats, on the selected weights or on a slice of each."""

    def apply_to(self, model: Model, weights: Sequence[Weight]) -> Model:
        return self.within(model, weights, self.changed)
