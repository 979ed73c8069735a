"""Renaming by patterns (`block1_*` -> `b1_*`), and natural sort order."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from surgery.weights.globs import captures
from surgery.weights.regexes import deadline, fullmatches

if TYPE_CHECKING:
    import regex

_STARS = re.compile(r"\*\*|\*")


def renamed(pattern: str, to: str, name: str) -> str | None:
    r"""Return the new name of `name` if it matches the pattern, else None.

    `*` matches inside one part of an address, `**` across parts; those in `to` stand for what
    they matched, in order. After `re:` the pattern is a regular expression, and `to` has its
    groups as `\1`. Raises ValueError if `to` has more stars than the pattern, or a wrong group.

       renamed("block1_*", "b1_*", "block1_conv") == "b1_conv"
    """
    if not pattern.startswith("re:") and stars(to) > stars(pattern):
        raise ValueError(f"{to!r} has more * than {pattern!r}")
    if pattern.startswith("re:"):
        found = next(fullmatches(pattern[3:], [name], deadline()), None)
        return None if found is None else _expanded(pattern, to, found)
    left = captures(re.findall(r"\*\*|\*|[^*]+", pattern), name)
    return None if left is None else _STARS.sub(lambda _: left.pop(0), to)


def renamed_beginning(pattern: str, to: str, address: str) -> str | None:
    """Return an address whose longest beginning that matches the pattern is renamed, else None.

    renamed_beginning("block_*", "b_*", "block_1/kernel") == "b_1/kernel"
    """
    beginning = address
    while beginning:
        new = renamed(pattern, to, beginning)
        if new is not None:
            return new + address.removeprefix(beginning)
        beginning = beginning.rpartition("/")[0]
    return None


def natural_key(name: str) -> list[tuple[int, str]]:
    """Return a sort key by which numbers in names sort as numbers: `a_2` before `a_10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def stars(pattern: str) -> int:
    """Count the stars of a pattern; `**` counts as one."""
    return len(_STARS.findall(pattern))


def _expanded(pattern: str, to: str, found: regex.Match[str]) -> str:
    try:
        return str(found.expand(to))
    except (re.error, IndexError) as error:
        raise ValueError(f"{to!r} does not go with {pattern!r}: {error}") from None
