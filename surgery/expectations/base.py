"""The base classes of expectations: frozen dataclasses that report failures."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from surgery.architecture import snake_case
from surgery.declared.fields import key
from surgery.declared.registry import Registry
from surgery.weights.model import Model
from surgery.weights.selectors import Select
from surgery.weights.sources import Donor
from surgery.weights.statistics import Statistics
from surgery.weights.tensor import Tensor
from surgery.weights.weight import Weight

Call = Callable[..., Mapping[str, Any]]
"""A function that runs a job on a live model and returns its result."""


@dataclass(frozen=True)
class Findings:
    """Facts of the result, found while its weights were written; by address where of a weight."""

    statistics: Mapping[str, Statistics] = field(default_factory=dict)
    changed: Mapping[str, bool] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The metrics found by steps; `name/metric` for a step with a name."""
    differences: Mapping[str, float] = field(default_factory=dict)
    """By how much a weight's elements differ at most from those that `compared` returns."""
    measured: Mapping[str, Any] = field(default_factory=dict)
    """The result of this expectation's own `measure`."""


@dataclass(frozen=True, kw_only=True)
class Expectation(ABC):
    """One expectation; its name in a recipe is its class's name in snake case.

    `needs` is the kind of findings that it needs: "" for none, "statistics" or "changed" of the
    weights, "differences" from other tensors, "metrics", or "live" for a measurement on a live
    model. With "", `failures` is called for the plan too, so it must not read values; one that
    reads some has "statistics".
    """

    name: ClassVar[str]
    needs: ClassVar[str] = ""

    def selected(self, model: Model) -> tuple[Weight, ...]:
        """Return the weights it is about; raises SelectorError if there are none."""
        return ()

    def donors(self) -> tuple[Donor, ...]:
        """Return the models that it compares with."""
        return ()

    def compared(self, model: Model) -> Mapping[str, Tensor]:
        """Return by address the tensors, of the same shapes, to find the differences from."""
        return {}

    def failures(self, model: Model, found: Findings) -> Iterator[str]:
        """Yield a message for each way in which the result fails."""
        yield from ()


@dataclass(frozen=True, kw_only=True)
class WeightExpectation(Expectation):
    """An expectation of selected weights."""

    select: Select = key("The weights to check.", "fc1/kernel")

    def selected(self, model: Model) -> tuple[Weight, ...]:
        return self.select.weights(model)


@dataclass(frozen=True, kw_only=True)
class LiveExpectation(Expectation):
    """An expectation of a live model's behaviour."""

    needs = "live"

    def measure(self, source: Model, model: Model, call: Call, seed: int) -> Mapping[str, Any]:
        """Measure the models before and after the steps, by jobs of live.process; abstract."""
        raise TypeError


EXPECTATIONS: Registry[type[Expectation]] = Registry(
    "surgery.expectations", "surgery.expectations", Expectation, lambda declared: declared
)


def expectation(declared: type[Expectation]) -> type[Expectation]:
    """Register an expectation for recipes; a class decorator."""
    declared.name = snake_case(declared.__name__)
    EXPECTATIONS.register(declared)
    return declared


def outside(
    value: float, low: float | None, high: float | None, exactly: float | None = None
) -> str:
    """Return the limit that a number breaks, as `at least 3`; empty if it breaks none."""
    if exactly is not None and value != exactly:
        return f"exactly {exactly:,g}"
    if low is not None and not value >= low:
        return f"at least {low:,g}"
    if high is not None and not value <= high:
        return f"at most {high:,g}"
    return ""
