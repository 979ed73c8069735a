"""`objective`: the metric by which the runs of a sweep are compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from surgery.declared.fields import key


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The metric by which the runs of a sweep are compared, and its direction."""

    metric: str = key("The metric's name in surgery sweep table.", "accuracy")
    direction: Literal["minimize", "maximize"] | None = key(
        "Which values are better; optional if known from the metric's name (accuracy, loss).",
        "maximize",
        default=None,
        in_example=True,
    )
