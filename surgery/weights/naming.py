"""Patterns that turn one name into another: `block1_*` -> `b1_*`."""

from __future__ import annotations

import re
from functools import lru_cache

_STARS = re.compile(r"\*\*|\*")


def renamed(pattern: str, to: str, name: str) -> str | None:
    r"""What `name` becomes where it matches the pattern, else None.

    `*` stays inside one part of an address, `**` crosses them; those in `to` stand for what
    they matched, in order. After `re:` the pattern is a regular expression, and `to` has its
    groups as `\1`. Raises ValueError where `to` has more of them than the pattern.
    """
    if not pattern.startswith("re:") and stars(to) > stars(pattern):
        raise ValueError(f"{to!r} has more * than {pattern!r}")
    found = _compiled(pattern).fullmatch(name)
    if found is None:
        return None
    if pattern.startswith("re:"):
        return _expanded(pattern, to, found)
    left = list(found.groups())
    return _STARS.sub(lambda _: left.pop(0), to)


def stars(pattern: str) -> int:
    """How many `*` and `**` a pattern has."""
    return len(_STARS.findall(pattern))


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    if pattern.startswith("re:"):
        try:
            return re.compile(pattern[3:])
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
    kinds = {"**": "(.*)", "*": "([^/]*)"}
    tokens = re.findall(r"\*\*|\*|[^*]+", pattern)
    return re.compile("".join(kinds.get(t) or re.escape(t) for t in tokens))


def _expanded(pattern: str, to: str, found: re.Match[str]) -> str:
    try:
        return found.expand(to)
    except (re.error, IndexError) as error:
        raise ValueError(f"{to!r} does not go with {pattern!r}: {error}") from None
