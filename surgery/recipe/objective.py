"""`objective`: by which metric the runs of a sweep are compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from surgery.declared.fields import key


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The metric by which the runs of a sweep are compared, and which of its values are better."""

    metric: str = key("The metric, as surgery sweep table calls it.", "accuracy")
    direction: Literal["minimize", "maximize"] | None = key(
        "Which values are better; it may be left out where the metric's name tells (accuracy, "
        "loss).",
        "maximize",
        default=None,
        in_example=True,
    )
