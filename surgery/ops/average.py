"""`average`: the mean of several models' weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from surgery.declared.fields import key
from surgery.errors import SelectorError
from surgery.ops.base import FloatOp, op
from surgery.weights.arithmetic import is_float
from surgery.weights.model import Model
from surgery.weights.selectors import Select
from surgery.weights.sources import Donor
from surgery.weights.tensor import Array, Mapped
from surgery.weights.weight import Weight


@op
@dataclass(frozen=True, kw_only=True)
class Average(FloatOp):
    """Average the selected weights with those of other models (checkpoints of one training)."""

    select: Select = key("The weights to average.", "**", default=Select("**"))
    from_: tuple[Donor, ...] = key(
        "The other models, each a file or a mapping as in load; a pattern (epoch_*.keras, "
        "epoch_{1..3}.keras) matches several files, numbers in order, except the one that "
        "is loaded.",
        ["epoch2.keras", "epoch3.keras"],
    )
    weights: tuple[float, ...] | None = key(
        "The weight of each model, the loaded one first; equal by default.",
        [1, 1, 2],
        default=None,
    )
    decay: float | None = key(
        "Or an exponential moving average in the order given: old x decay + new x (1 - decay).",
        0.99,
        default=None,
        minimum=0,
        maximum=1,
    )

    def __post_init__(self) -> None:
        if not self.from_:
            raise ValueError("from names no model")
        if self.weights is not None and self.decay is not None:
            raise ValueError("give either weights or decay")
        if self.weights is not None and len(self.weights) != len(self.from_) + 1:
            raise ValueError(
                f"weights has {len(self.weights)} numbers for {len(self.from_) + 1} models: the "
                "loaded one comes first"
            )
        if self.weights is not None and (min(self.weights) < 0 or sum(self.weights) <= 0):
            raise ValueError("weights must not be negative, nor all zero")

    def donors(self) -> tuple[Donor, ...]:
        return self.from_

    def changed(self, model: Model, weights: Sequence[Weight]) -> Model:
        return model.with_weights(weight.with_tensor(self._averaged(weight)) for weight in weights)

    def shares(self) -> list[float]:
        """Return the share of each model in the result, the loaded one first; the sum is 1."""
        count = len(self.from_) + 1
        if self.decay is not None:
            new = [(1 - self.decay) * self.decay ** (count - 1 - i) for i in range(1, count)]
            return [self.decay ** (count - 1), *new]
        given = self.weights or (1.0,) * count
        parts = [
            weight / max(given) for weight in given
        ]  # scaled, so that their sum does not overflow
        return [part / sum(parts) for part in parts]

    def _averaged(self, weight: Weight) -> Mapped:
        own, *theirs = self.shares()
        donors = [(_same(weight, donor.model).tensor, share)
                  for donor, share in zip(self.from_, theirs, strict=True)]  # fmt: skip
        # A model with share 0 is left out, as 0 times infinity would be NaN.
        others = [(tensor, share) for tensor, share in donors if share]

        def mean(values: Array, start: int) -> Array:
            total = values.astype(np.float64) * own if own else np.zeros(values.shape)
            with np.errstate(over="ignore", invalid="ignore"):
                for tensor, share in others:
                    other = tensor.read(start, start + values.size)
                    total += other.astype(np.float64) * share
                result: Array = total.astype(values.dtype)
                return result

        return Mapped(weight.tensor, mean)


def _same(weight: Weight, donor: Model) -> Weight:
    found = donor.by_address.get(weight.address)
    if found is None:
        raise SelectorError(f"{donor.origin} has no {weight.address}; narrow select")
    if found.tensor.shape != weight.tensor.shape:
        raise SelectorError(
            f"{weight.address} is {list(found.tensor.shape)} in {donor.origin}, not "
            f"{list(weight.tensor.shape)}; narrow select"
        )
    if not is_float(found.tensor.dtype):
        raise SelectorError(
            f"{weight.address} is {found.tensor.dtype.name} in {donor.origin}, and average "
            "computes with floats only; narrow select"
        )
    return found
