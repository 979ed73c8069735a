"""Patterns that turn one name into another: `block1_*` -> `b1_*`; and names in order."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from surgery.weights.globs import captures
from surgery.weights.regexes import deadline, fullmatches

if TYPE_CHECKING:
    import regex

_STARS = re.compile(r"\*\*|\*")


def renamed(pattern: str, to: str, name: str) -> str | None:
    r"""What `name` becomes where it matches the pattern, else None.

    `*` stays inside one part of an address, `**` crosses them; those in `to` stand for what
    they matched, in order. After `re:` the pattern is a regular expression, and `to` has its
    groups as `\1`. Raises ValueError where `to` has more of them than the pattern.
    """
    if not pattern.startswith("re:") and stars(to) > stars(pattern):
        raise ValueError(f"{to!r} has more * than {pattern!r}")
    if pattern.startswith("re:"):
        found = next(fullmatches(pattern[3:], [name], deadline()), None)
        return None if found is None else _expanded(pattern, to, found)
    left = captures(re.findall(r"\*\*|\*|[^*]+", pattern), name)
    return None if left is None else _STARS.sub(lambda _: left.pop(0), to)


def natural_key(name: str) -> list[tuple[int, str]]:
    """Return a key to sort names by, in which numbers count as such: `a_2` before `a_10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def stars(pattern: str) -> int:
    """How many `*` and `**` a pattern has."""
    return len(_STARS.findall(pattern))


def _expanded(pattern: str, to: str, found: regex.Match[str]) -> str:
    try:
        return str(found.expand(to))
    except (re.error, IndexError) as error:
        raise ValueError(f"{to!r} does not go with {pattern!r}: {error}") from None
