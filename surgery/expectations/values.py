"""Expectations of the weights' values, checked while they are written."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from surgery.declared.fields import Share, key
from surgery.expectations.base import Findings, WeightExpectation, expectation, outside
from surgery.weights.arithmetic import held
from surgery.weights.model import Model
from surgery.weights.statistics import Statistics


@dataclass(frozen=True, kw_only=True)
class _OfValues(WeightExpectation):
    needs = "statistics"

    def of_each(self, model: Model, found: Findings) -> Iterator[tuple[str, Statistics]]:
        """Yield (address, statistics) of each selected weight."""
        for weight in self.selected(model):
            yield weight.address, found.statistics[weight.address]


@expectation
@dataclass(frozen=True, kw_only=True)
class Sparsity(_OfValues):
    """The share of zeros among all selected elements."""

    at_least: Share | None = key("This share or more.", "10%", default=None, in_example=True)
    at_most: Share | None = key("This share or less.", "90%", default=None)

    def __post_init__(self) -> None:
        if self.at_least is None and self.at_most is None:
            raise ValueError("give at_least or at_most")

    def failures(self, model: Model, found: Findings) -> Iterator[str]:
        total = sum((statistics for _, statistics in self.of_each(model, found)), Statistics())
        fact = f"{self.select} has {total.zeros:,} zeros of {total.count:,}"
        if self.at_least is not None and total.zeros < math.floor(
            self.at_least.fraction * total.count
        ):
            yield f"{fact}, expected at least {self.at_least}"
        if self.at_most is not None and total.zeros > self.at_most.fraction * total.count:
            yield f"{fact}, expected at most {self.at_most}"


@expectation
@dataclass(frozen=True, kw_only=True)
class Finite(_OfValues):
    """No selected element is infinite or NaN."""

    def failures(self, model: Model, found: Findings) -> Iterator[str]:
        for address, statistics in self.of_each(model, found):
            if statistics.nonfinite:
                yield f"{address} has {statistics.nonfinite:,} elements that are infinite or NaN"


@expectation
@dataclass(frozen=True, kw_only=True)
class Range(_OfValues):
    """Every selected element is in this range; NaN is not."""

    min: float | None = key("No element is below this.", -1.0, default=None, in_example=True)
    max: float | None = key("No element is above this.", 1.0, default=None, in_example=True)

    def __post_init__(self) -> None:
        if self.min is None and self.max is None:
            raise ValueError("give min or max")

    def failures(self, model: Model, found: Findings) -> Iterator[str]:
        for address, statistics in self.of_each(model, found):
            dtype = model[address].tensor.dtype
            lowest, highest = (
                None if end is None else held(end, dtype) for end in (self.min, self.max)
            )
            if statistics.nonfinite:
                yield f"{address} has {statistics.nonfinite:,} elements that are infinite or NaN"
            elif statistics.finite:
                for value, low, high in (
                    (statistics.low, lowest, None),
                    (statistics.high, None, highest),
                ):
                    if wanted := outside(value, low, high):
                        yield f"{address} reaches {value + 0.0:g}, expected {wanted}"


@expectation
@dataclass(frozen=True, kw_only=True)
class Norm(_OfValues):
    """The Euclidean norm of every selected weight."""

    at_least: float | None = key("This or more.", 0.1, default=None, minimum=0)
    at_most: float | None = key("This or less.", 100.0, default=None, in_example=True, minimum=0)

    def __post_init__(self) -> None:
        if self.at_least is None and self.at_most is None:
            raise ValueError("give at_least or at_most")

    def failures(self, model: Model, found: Findings) -> Iterator[str]:
        for address, s in self.of_each(model, found):
            norm = math.sqrt(s.deviation + s.finite * s.mean**2) if not s.nonfinite else math.nan
            if wanted := outside(norm, self.at_least, self.at_most):
                yield f"the norm of {address} is {norm:g}, expected {wanted}"
