"""Regular expressions of users: Python's, with a limit on the time they take."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import regex

SECONDS = 1.0
"""How long the expressions of a selector may take, for all the names of a model together."""
_LONGEST_SHOWN = 200


@lru_cache(maxsize=4096)
def compiled(expression: str) -> regex.Pattern[str]:
    """An expression, compiled by `regex`, which takes a timeout; raises ValueError for a wrong one.

    Python's own `re` says what is right.
    """
    import regex

    try:
        with warnings.catch_warnings(action="ignore"):
            re.compile(expression)
        return regex.compile(expression)
    except (re.error, regex.error, RecursionError, MemoryError, OverflowError) as error:
        raise ValueError(f"{_short(expression)} is not a regular expression: {error}") from None


def deadline() -> float:
    """When expressions that begin to match now must have ended."""
    return time.monotonic() + SECONDS


def fullmatches(expression: str, names: Iterable[str], end: float) -> Iterator[regex.Match[str]]:
    """The matches of whole names; raises ValueError where they go on beyond `end`."""
    pattern = compiled(expression)
    for name in names:
        try:
            # A timeout of 0 would be none.
            found = pattern.fullmatch(name, timeout=max(end - time.monotonic(), 1e-6))
        except (TimeoutError, MemoryError):
            raise ValueError(
                f"{_short(expression)} takes too long on the model's names (more than "
                f"{SECONDS:g} s); write it without repeats inside repeats, or as a glob"
            ) from None
        if found is not None:
            yield found


def _short(expression: str) -> str:
    """The expression as a recipe has it, cut where it is very long."""
    shown = expression[:_LONGEST_SHOWN]
    return repr(f"re:{shown}" + ("..." if shown != expression else ""))
