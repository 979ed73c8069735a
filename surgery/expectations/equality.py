"""The expectation that weights equal those of another model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from surgery.declared.fields import key
from surgery.expectations.base import Findings, WeightExpectation, expectation
from surgery.weights.model import Model
from surgery.weights.selectors import Select
from surgery.weights.sources import Donor
from surgery.weights.tensor import Tensor


@expectation
@dataclass(frozen=True, kw_only=True)
class Equal(WeightExpectation):
    """Every selected weight is equal to the one of its address in another model."""

    needs = "differences"

    select: Select = key("The weights to compare.", "encoder/**", default=Select("**"))
    to: Donor = key("The other model: a model file, or a mapping as in load.", "other.keras")
    tolerance: float = key(
        "How far an element may be from the other one; NaN is equal to NaN.",
        0.001,
        default=0.0,
        minimum=0,
        in_example=True,
    )

    def donors(self) -> tuple[Donor, ...]:
        return (self.to,)

    def compared(self, model: Model) -> Mapping[str, Tensor]:
        """Return by address the other tensors that have a selected weight's shape."""
        other = self.to.model.by_address
        return {
            weight.address: other[weight.address].tensor
            for weight in self.selected(model)
            if weight.address in other and other[weight.address].shape == weight.shape
        }

    def failures(self, model: Model, found: Findings) -> Iterator[str]:
        other = self.to.model
        for weight in self.selected(model):
            address = weight.address
            if address not in other.by_address:
                yield f"{address} is not in {other.origin}"
            elif address not in found.differences:
                shape = list(other[address].shape)
                yield f"{address} is {list(weight.shape)}, and {shape} in {other.origin}"
            elif not found.differences[address] <= self.tolerance:
                yield (
                    f"{address} differs from that of {other.origin} by up to "
                    f"{found.differences[address]:g}, expected at most {self.tolerance:g}"
                )
