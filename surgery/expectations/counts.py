"""Expectations of the number and shapes of weights and layers, known without reading values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from surgery.declared.dtypes import DType
from surgery.declared.fields import key
from surgery.expectations.base import (
    Expectation,
    Findings,
    WeightExpectation,
    expectation,
    outside,
)
from surgery.weights.layer_selectors import SelectLayers
from surgery.weights.matching import names
from surgery.weights.model import Model
from surgery.weights.weight import Weight


@dataclass(frozen=True, kw_only=True)
class _Limits:
    exactly: int | None = key("This many exactly.", 26, default=None, minimum=0)
    at_least: int | None = key("This many or more.", 1, default=None, minimum=0, in_example=True)
    at_most: int | None = key("This many or fewer.", 100, default=None, minimum=0)

    def __post_init__(self) -> None:
        if self.exactly is None and self.at_least is None and self.at_most is None:
            raise ValueError("give exactly, at_least or at_most")


@dataclass(frozen=True, kw_only=True)
class _Counted(_Limits, WeightExpectation):
    def count(self, weights: tuple[Weight, ...]) -> int:
        """Return the number to compare."""
        return len(weights)

    def failures(self, model: Model, found: Findings) -> Iterator[str]:
        number = self.count(self.selected(model))
        if wanted := outside(number, self.at_least, self.at_most, self.exactly):
            yield f"{self.select} has {number:,} {self.what()}, expected {wanted}"

    def what(self) -> str:
        """Return the word for the counted things in messages."""
        return "weights"


@expectation
@dataclass(frozen=True, kw_only=True)
class Matches(_Counted):
    """The number of weights that the selector matches."""

    def selected(self, model: Model) -> tuple[Weight, ...]:
        return self.select.matches(model)


@expectation
@dataclass(frozen=True, kw_only=True)
class Parameters(_Counted):
    """The number of elements of all selected weights together."""

    def count(self, weights: tuple[Weight, ...]) -> int:
        return sum(weight.tensor.size for weight in weights)

    def what(self) -> str:
        return "parameters"


@dataclass(frozen=True, kw_only=True)
class _OfLayers(Expectation):
    select: SelectLayers = key("The layers to count.", {"type": "BatchNormalization"})


@expectation
@dataclass(frozen=True, kw_only=True)
class Layers(_Limits, _OfLayers):
    """The selector names this many layers of the model's config, inputs and operations included."""

    def selected(self, model: Model) -> tuple[Weight, ...]:
        self.select.layers(model, allow_empty=True)  # raises for a model that has none
        return ()

    def failures(self, model: Model, found: Findings) -> Iterator[str]:
        number = len(self.select.layers(model, allow_empty=True))
        if wanted := outside(number, self.at_least, self.at_most, self.exactly):
            yield f"{self.select} has {number:,} layers, expected {wanted}"


@expectation
@dataclass(frozen=True, kw_only=True)
class Shape(WeightExpectation):
    """Every selected weight has this shape."""

    is_: tuple[int, ...] = key("The shape; -1 matches any size.", [25088, -1])

    def failures(self, model: Model, found: Findings) -> Iterator[str]:
        for weight in self.selected(model):
            shape = weight.tensor.shape
            fits = len(shape) == len(self.is_) and all(
                wanted in (-1, size) for size, wanted in zip(shape, self.is_, strict=True)
            )
            if not fits:
                yield f"{weight.address} is {list(shape)}, expected {list(self.is_)}"


@expectation
@dataclass(frozen=True, kw_only=True)
class Exists(WeightExpectation):
    """The selector matches a weight."""

    def selected(self, model: Model) -> tuple[Weight, ...]:
        return self.select.matches(model)

    def failures(self, model: Model, found: Findings) -> Iterator[str]:
        if not self.selected(model):
            yield f"{self.select} matches no weight"


@expectation
@dataclass(frozen=True, kw_only=True)
class Absent(WeightExpectation):
    """The selector matches no weight."""

    def selected(self, model: Model) -> tuple[Weight, ...]:
        return self.select.matches(model)

    def failures(self, model: Model, found: Findings) -> Iterator[str]:
        if weights := self.selected(model):
            yield f"{self.select} matches {names([weight.address for weight in weights])}"


@expectation
@dataclass(frozen=True, kw_only=True)
class Dtype(WeightExpectation):
    """The dtype of every selected weight."""

    is_: DType = key("The dtype.", "float32")

    def failures(self, model: Model, found: Findings) -> Iterator[str]:
        for weight in self.selected(model):
            if weight.tensor.dtype != self.is_.numpy:
                yield f"{weight.address} is {weight.tensor.dtype.name}, expected {self.is_}"
