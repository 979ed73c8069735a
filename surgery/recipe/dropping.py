"""`optimizer` of a target: whether optimizer state is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from surgery.declared.fields import REFERENCE
from surgery.errors import did_you_mean
from surgery.weights.model import Model
from surgery.weights.weight import Weight

_CHOICES = ("keep", "drop")
_STEP = "global_step"
_MOST_NAMED = 10


@dataclass(frozen=True)
class Training:
    """Whether to drop optimizer state and compile config, and the global step, too."""

    drop: bool = False
    global_step: bool = False

    @classmethod
    def from_recipe(cls, value: object, _folder: Path) -> Training:
        """Read `keep`, `drop`, or a mapping; raises ValueError."""
        if isinstance(value, str):
            return cls(_is_drop(value))
        if not isinstance(value, Mapping) or not isinstance(value.get("drop", True), bool):
            raise TypeError
        found = cls(value.get("drop", True), _is_drop(value.get(_STEP, "keep")))
        if found.global_step and not found.drop:
            raise ValueError(f"{_STEP}: drop requires drop: true")
        return found

    @classmethod
    def schema(cls) -> Mapping[str, object]:
        """Return its JSON Schema."""
        drop = {
            "description": "Whether to drop optimizer state and compile config.",
            "examples": [True],
            "type": ["boolean", "string"],
            "pattern": REFERENCE,
        }
        step = {
            "description": "Whether to keep or drop TensorFlow 1's step counter, if there is one.",
            "examples": ["drop"],
            "enum": list(_CHOICES),
        }
        return {
            "type": ["string", "object"],
            "minLength": 1,
            "properties": {"drop": drop, _STEP: step},
            "additionalProperties": False,
        }

    def __str__(self) -> str:
        return _CHOICES[self.drop]

    def left(self, model: Model) -> Model:
        """Return the model without what is dropped."""
        if not self.drop:
            return model
        model = model.without_optimizer()
        states = (state for state in model.states if not (self.global_step and _is_step(state)))
        return replace(model, states=tuple(states))

    def notes(self, model: Model) -> Iterator[str]:
        """Yield a note on which variables of a checkpoint are dropped."""
        if not self.drop or not (model.states or model.format_facts.edits_in_place):
            return
        kept = {state.address for state in self.left(model).states}
        dropped = [state for state in model.states if state.address not in kept]
        if not dropped:
            yield "no variable is recognised as an optimizer's, so none is left out"
            return
        words = _few(list(dict.fromkeys(state.variable for state in dropped)))
        names = _few([state.address for state in dropped])
        yield f"variables left out: {len(dropped):,} ({words}): {names}"


def _is_drop(value: object) -> bool:
    if value not in _CHOICES:
        hint = did_you_mean(str(value), _CHOICES)
        raise ValueError(f'"{value}" is not allowed{hint}; allowed: {", ".join(_CHOICES)}')
    return value == "drop"


def _is_step(state: Weight) -> bool:
    return state.state == "other" and state.variable == _STEP


def _few(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
