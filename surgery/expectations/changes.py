"""Whether weights are still what they were in the model that was loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from surgery.expectations.base import Findings, WeightExpectation, expectation
from surgery.weights.model import Model


@expectation
@dataclass(frozen=True, kw_only=True)
class Unchanged(WeightExpectation):
    """Every selected weight is bit for bit what it was when it was loaded."""

    needs = "changed"

    def failures(self, model: Model, found: Findings) -> Iterator[str]:
        for weight in self.selected(model):
            if found.changed[weight.address]:
                yield f"{weight.address} has changed"


@expectation
@dataclass(frozen=True, kw_only=True)
class Changed(WeightExpectation):
    """No selected weight is what it was when it was loaded."""

    needs = "changed"

    def failures(self, model: Model, found: Findings) -> Iterator[str]:
        for weight in self.selected(model):
            if not found.changed[weight.address]:
                yield f"{weight.address} has not changed"
