"""Parameters, progress and results, shared by the library's functions."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from surgery.execution.progress import Progress, progress_for

Made = TypeVar("Made")

logger = logging.getLogger("surgery")


def as_a(declared: type[Made], found: Any, **more: Any) -> Made:
    """Return a dataclass's instance as one of a subclass; `more` has its additional fields."""
    values = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    return declared(**{**values, **more})


def overrides(params: Mapping[str, Any] | None, more: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's parameters as plain values."""
    return {name: _plain(value) for name, value in {**(params or {}), **more}.items()}


def _plain(value: Any) -> Any:
    from surgery.recipe.params import Text
    from surgery.recipe.parts import recipe_text

    return Text(value) if isinstance(value, str | Path) else json.loads(recipe_text(value))


class Logged(Progress):
    """Progress that is logged to the logger `surgery`, and optionally shown as a bar."""

    def __init__(self, title: str, is_shown: bool) -> None:
        self._title = title
        self._shown = progress_for(title, quiet=not is_shown)

    def __enter__(self) -> Progress:
        self._shown.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._shown.__exit__(kind, error, traceback)

    def say(self, event: str, **facts: object) -> None:
        level = logging.WARNING if event == "note" else logging.INFO
        text = " ".join(f"{name}={value}" for name, value in facts.items())
        logger.log(level, "%s: %s %s", self._title, event, text)
        self._shown.say(event, **facts)

    def phase(self, name: str, total: int) -> None:
        logger.debug("%s: %s", self._title, name)
        self._shown.phase(name, total)

    def advance(self, count: int) -> None:
        self._shown.advance(count)
