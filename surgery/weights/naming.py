"""Patterns that turn one name into another: `block1_*` -> `b1_*`."""

from __future__ import annotations

import re


def renamed(pattern: str, to: str, name: str) -> str | None:
    """What `name` becomes where it matches the pattern, else None.

    `*` stays inside one part of an address, `**` crosses them; those in `to` stand for what
    they matched, in order. Raises ValueError where `to` has more of them than the pattern.
    """
    stars = re.findall(r"\*\*|\*", pattern)
    if len(re.findall(r"\*\*|\*", to)) > len(stars):
        raise ValueError(f"{to!r} has more * than {pattern!r}")
    tokens = re.findall(r"\*\*|\*|[^*]+", pattern)
    kinds = {"**": "(.*)", "*": "([^/]*)"}
    found = re.fullmatch("".join(kinds.get(t) or re.escape(t) for t in tokens), name)
    if found is None:
        return None
    left = list(found.groups())
    return re.sub(r"\*\*|\*", lambda _: left.pop(0), to)
