"""What every expectation is: a frozen dataclass of its keys that says what does not hold."""

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
from surgery.weights.statistics import Statistics
from surgery.weights.weight import Weight

Call = Callable[..., Mapping[str, Any]]
"""Has a job done on a live model."""


@dataclass(frozen=True)
class Findings:
    """What was found out of the result once everything has streamed by, by address."""

    statistics: Mapping[str, Statistics] = field(default_factory=dict)
    changed: Mapping[str, bool] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Those that steps found out; `name/metric` of a step that has a name."""
    measured: Mapping[str, Any] = field(default_factory=dict)
    """What this expectation itself had measured on a live model."""


@dataclass(frozen=True, kw_only=True)
class Expectation(ABC):
    """One expectation; its name in a recipe is its class's name in snake case.

    `needs` says what must be found first: nothing, the weights' statistics, whether they
    changed, metrics, or what a live model does.
    """

    name: ClassVar[str]
    needs: ClassVar[str] = ""

    def selected(self, model: Model) -> tuple[Weight, ...]:
        """The weights it is about; raises SelectorError for none."""
        return ()

    def failures(self, model: Model, found: Findings) -> Iterator[str]:
        """What does not hold of the result."""
        yield from ()


@dataclass(frozen=True, kw_only=True)
class WeightExpectation(Expectation):
    """An expectation of selected weights."""

    select: Select = key("The weights it is about.", "fc1/kernel")

    def selected(self, model: Model) -> tuple[Weight, ...]:
        return self.select.weights(model)


@dataclass(frozen=True, kw_only=True)
class LiveExpectation(Expectation):
    """An expectation of what a running model does."""

    needs = "live"

    def measure(self, source: Model, model: Model, call: Call, seed: int) -> Mapping[str, Any]:
        """Find out on live models, by jobs of live.process."""
        raise TypeError


EXPECTATIONS: Registry[type[Expectation]] = Registry(
    "surgery.expectations", "surgery.expectations", Expectation, lambda declared: declared
)


def expectation(declared: type[Expectation]) -> type[Expectation]:
    """Class decorator: make the expectation known to recipes."""
    declared.name = snake_case(declared.__name__)
    EXPECTATIONS.register(declared)
    return declared


def outside(
    value: float, low: float | None, high: float | None, exactly: float | None = None
) -> str:
    """Which limit a number breaks, as ` at least 3`; nothing where it keeps them all."""
    if exactly is not None and value != exactly:
        return f"exactly {exactly:,g}"
    if low is not None and not value >= low:
        return f"at least {low:,g}"
    if high is not None and not value <= high:
        return f"at most {high:,g}"
    return ""
