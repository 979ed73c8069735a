"""Expectations of whether weights differ from the loaded model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from surgery.expectations.base import Findings, WeightExpectation, expectation
from surgery.weights.model import Model


@expectation
@dataclass(frozen=True, kw_only=True)
class Unchanged(WeightExpectation):
    """Every selected weight is bit for bit the same as in the loaded model."""

    needs = "changed"

    def failures(self, model: Model, found: Findings) -> Iterator[str]:
        for weight in self.selected(model):
            if found.changed[weight.address]:
                yield f"{weight.address} has changed"


@expectation
@dataclass(frozen=True, kw_only=True)
class Changed(WeightExpectation):
    """Every selected weight differs from the loaded model."""

    needs = "changed"

    def failures(self, model: Model, found: Findings) -> Iterator[str]:
        for weight in self.selected(model):
            if not found.changed[weight.address]:
                yield f"{weight.address} has not changed"
