"""Expectations of what a call of the model costs, known from its config."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from surgery.declared.fields import key
from surgery.expectations.base import Expectation, Findings, expectation, outside
from surgery.weights.matching import names
from surgery.weights.model import Model
from surgery.weights.shapes import shapes_of


@expectation
@dataclass(frozen=True, kw_only=True)
class Flops(Expectation):
    """One example takes this many floating-point operations; a multiply-add counts as two."""

    at_least: float | None = key("This many or more.", 1e6, default=None, minimum=0)
    at_most: float | None = key(
        "This many or fewer.", 1e9, default=None, in_example=True, minimum=0
    )

    def __post_init__(self) -> None:
        if self.at_least is None and self.at_most is None:
            raise ValueError("give at_least or at_most")

    def failures(self, model: Model, found: Findings) -> Iterator[str]:
        shapes = shapes_of(model)
        if shapes is None:
            yield "its FLOPs are unknown, since no config lists the calls of its layers"
        elif shapes.total is None:
            unknown = names(list(dict.fromkeys(name for name, _ in shapes.unknown())))
            yield f"its FLOPs are unknown, since those of {unknown} are"
        elif wanted := outside(shapes.total, self.at_least, self.at_most):
            yield f"one example takes {shapes.total:,} FLOPs, expected {wanted}"
