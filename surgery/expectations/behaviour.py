"""Expectations of the model's behaviour: its metrics, and the change of its outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from surgery.declared.data import Data
from surgery.declared.fields import key
from surgery.errors import did_you_mean
from surgery.expectations.base import (
    Call,
    Expectation,
    Findings,
    LiveExpectation,
    expectation,
    outside,
)
from surgery.weights.model import Model


@expectation
@dataclass(frozen=True, kw_only=True)
class Metric(Expectation):
    """A metric found by an evaluate (or train) step; of several steps, the last."""

    needs = "metrics"

    name_: str = key(
        "The metric's name in Keras; val/accuracy is the metric of the step named val.",
        "accuracy",
    )
    at_least: float | None = key("This or more.", 0.95, default=None, in_example=True)
    at_most: float | None = key("This or less.", 0.1, default=None)

    def __post_init__(self) -> None:
        if self.at_least is None and self.at_most is None:
            raise ValueError("give at_least or at_most")

    def failures(self, model: Model, found: Findings) -> Iterator[str]:
        value = found.metrics.get(self.name_)
        if value is None:
            hint = did_you_mean(self.name_, found.metrics)
            yield f"no step found {self.name_!r}{hint}; there are {', '.join(found.metrics)}"
        elif wanted := outside(value, self.at_least, self.at_most):
            yield f"{self.name_} is {value:.4g}, expected {wanted}"


@expectation
@dataclass(frozen=True, kw_only=True)
class OutputChange(LiveExpectation):
    """The largest absolute difference between the model's outputs before and after the steps."""

    at_most: float = key("This or less, in the outputs' own unit.", 0.05, minimum=0)
    on: Literal["probes", "data"] = key(
        "Random inputs of the model's own shape, or data.", "data", default="probes"
    )
    data: Data | None = key("The data, with on: data.", "digits.npz", default=None)
    batch_size: int = key("Examples at a time.", 64, default=32, minimum=1)

    def __post_init__(self) -> None:
        if (self.on == "data") != (self.data is not None):
            raise ValueError("on: data and the key data go together")

    def measure(self, source: Model, model: Model, call: Call, seed: int) -> Mapping[str, Any]:
        return call(
            "output_change",
            model,
            other=source,
            data=self.data and self.data.without_labels(),
            batch_size=self.batch_size,
            seed_=seed,
        )

    def failures(self, model: Model, found: Findings) -> Iterator[str]:
        change = found.measured["change"]
        if wanted := outside(change, None, self.at_most):
            yield f"the outputs changed by {change:.4g}, expected {wanted}"
