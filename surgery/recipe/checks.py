"""`check` between steps: expectations of the model at that point of the chain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from surgery.errors import SelectorError
from surgery.expectations.base import Findings
from surgery.ops.base import Op
from surgery.weights.model import Model
from surgery.weights.statistics import Statistics
from surgery.weights.weight import Weight

if TYPE_CHECKING:
    from surgery.recipe.document import Place
    from surgery.recipe.language import Expected

NAME = "check"


@dataclass(frozen=True, kw_only=True)
class Check(Op):
    """A step that leaves the model as it is, and fails if an expectation of it does."""

    name: ClassVar[str] = NAME
    changes_weights = False

    expected: tuple[Expected, ...] = ()

    @property
    def title(self) -> str:
        return f"{NAME} {', '.join(each.expectation.name for each in self.expected)}"

    def matched(self, model: Model) -> tuple[Weight, ...]:
        found: dict[str, Weight] = {}
        for each in self.expected:
            try:
                found |= {weight.address: weight for weight in each.expectation.selected(model)}
            except SelectorError as error:
                raise SelectorError(f"{each.expectation.name}: {error}") from None
        return tuple(found.values())

    def watched(self, model: Model) -> Sequence[Weight]:
        """Return the weights whose values the expectations need."""
        needing = [each for each in self.expected if each.expectation.needs]
        return [w for each in needing for w in each.expectation.selected(model)]

    def changes(self, weights: Sequence[Weight]) -> int | None:
        return 0

    def apply(self, model: Model) -> Model:
        return model

    def failures(
        self, model: Model, statistics: dict[str, Statistics] | None
    ) -> Iterator[tuple[Place, str]]:
        """Yield the place and message of each failure; without statistics, of what needs none."""
        for each in self.expected:
            if bool(each.expectation.needs) == (statistics is not None):
                for message in each.expectation.failures(model, Findings(statistics or {})):
                    yield each.place, message
