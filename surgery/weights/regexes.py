"""Regular expressions of users, in Python's syntax, with a time limit."""

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
"""The time limit for the expressions of a selector, over all names of a model."""
_LONGEST_SHOWN = 200


@lru_cache(maxsize=4096)
def compiled(expression: str) -> regex.Pattern[str]:
    """Compile an expression by `regex`, which has timeouts; raises ValueError if it is invalid.

    Python's `re` decides whether it is valid.
    """
    import regex

    try:
        with warnings.catch_warnings(action="ignore"):
            re.compile(expression)
        return regex.compile(expression)
    except (re.error, regex.error, RecursionError, MemoryError, OverflowError) as error:
        raise ValueError(f"{_short(expression)} is not a regular expression: {error}") from None


def deadline() -> float:
    """Return the time by which matching that starts now must end."""
    return time.monotonic() + SECONDS


def fullmatches(expression: str, names: Iterable[str], end: float) -> Iterator[regex.Match[str]]:
    """Yield the matches of whole names; raises ValueError after the time `end`."""
    pattern = compiled(expression)
    for name in names:
        try:
            # A timeout of 0 would mean no timeout.
            found = pattern.fullmatch(name, timeout=max(end - time.monotonic(), 1e-6))
        except (TimeoutError, MemoryError):
            raise ValueError(
                f"{_short(expression)} takes too long on the model's names (more than "
                f"{SECONDS:g} s); write it without repeats inside repeats, or as a glob"
            ) from None
        if found is not None:
            yield found


def _short(expression: str) -> str:
    """Return the expression as a recipe has it, truncated if it is very long."""
    shown = expression[:_LONGEST_SHOWN]
    return repr(f"re:{shown}" + ("..." if shown != expression else ""))
