"""`any`, `all` and `not` of other expectations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from surgery.errors import SelectorError
from surgery.expectations.base import Expectation, Findings
from surgery.weights.model import Model
from surgery.weights.weight import Weight

WORDS = {
    "any": "At least one of these expectations holds.",
    "all": "All of these expectations hold.",
    "not": "This expectation does not hold.",
}
"""The words that combine expectations, and their meanings."""

ALLOWED = ("", "statistics")
"""The kinds of findings that combined expectations may need."""


@dataclass(frozen=True, kw_only=True)
class Combined(Expectation):
    """A combination of expectations of weights, shapes and statistics."""

    how: Literal["any", "all", "not"]
    parts: tuple[Expectation, ...]

    @property
    def name(self) -> str:  # type: ignore[override]
        """The word that combines them."""
        return self.how

    @property
    def needs(self) -> str:  # type: ignore[override]
        """The kinds of findings that the parts need."""
        return max(part.needs for part in self.parts)

    def selected(self, model: Model) -> tuple[Weight, ...]:
        found = [weight for part in self.parts for weight in _selected(part, model)]
        return tuple({weight.address: weight for weight in found}.values())

    def failures(self, model: Model, found: Findings) -> Iterator[str]:
        failed = [list(_failures(part, model, found)) for part in self.parts]
        if self.how == "all":
            yield from (message for messages in failed for message in messages)
        elif self.how == "any" and all(failed):
            told = "; ".join(message for messages in failed for message in messages)
            yield f"none of them holds: {told}"
        elif self.how == "not" and not failed[0]:
            yield f"{self.parts[0].name} holds, expected that it does not"


def _selected(part: Expectation, model: Model) -> tuple[Weight, ...]:
    """Return the weights that a part is about; none where its selector matches nothing."""
    try:
        return part.selected(model)
    except SelectorError:
        return ()


def _failures(part: Expectation, model: Model, found: Findings) -> Iterator[str]:
    """Yield why a part does not hold; a selector that matches nothing is a reason."""
    try:
        yield from part.failures(model, found)
    except SelectorError as error:
        yield str(error)
