"""Patterns that turn one name into another: `block1_*` -> `b1_*`."""

from __future__ import annotations

import re

from surgery.weights.globs import captures


def renamed(pattern: str, to: str, name: str) -> str | None:
    """What `name` becomes where it matches the pattern, else None.

    `*` stays inside one part of an address, `**` crosses them; those in `to` stand for what
    they matched, in order. Raises ValueError where `to` has more of them than the pattern.
    """
    tokens = re.findall(r"\*\*|\*|[^*]+", pattern)
    stars = [token for token in tokens if token.startswith("*")]
    if len(re.findall(r"\*\*|\*", to)) > len(stars):
        raise ValueError(f"{to!r} has more * than {pattern!r}")
    left = captures(tokens, name)
    if left is None:
        return None
    return re.sub(r"\*\*|\*", lambda _: left.pop(0), to)
