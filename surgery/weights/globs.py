"""Globs over addresses, matched in time proportional to (pattern length * name length)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

_WILD = ("**/", "/**", "**", "*", "?")
Places = set[int]


@lru_cache(maxsize=4096)
def tokens_of(pattern: str) -> tuple[str, ...]:
    """Split a glob into its wildcards and the text between them.

    `*` and `?` match inside one part of an address, `**` across parts; `**/`, and `/**` at the
    end, also match nothing.
    """
    return tuple(re.findall(r"\*\*/|/\*\*$|\*\*|\*|\?|(?:(?!/\*\*$)[^*?])+", pattern))


def beginning(pattern: str) -> str:
    """Return the text before the first wildcard, with which all matching names begin."""
    first = next(iter(tokens_of(pattern)), "")
    return "" if first in _WILD else first


def matches(pattern: str, name: str) -> bool:
    """Return whether the glob matches the whole name."""
    places = {len(name)}
    for token in reversed(tokens_of(pattern)):
        places = _before(token, places, name)
        if not places:
            return False
    return 0 in places


def captures(tokens: Sequence[str], name: str) -> list[str] | None:
    """Return the text matched by each wildcard, earlier ones greedy; None if there is no match.

    The tokens may be text, `*` and `**` only.
    """
    starts = _starts(tokens, name)
    if 0 not in starts[0]:
        return None
    found, place = [], 0
    for token, ends in zip(tokens, starts[1:], strict=True):
        if token not in _WILD:
            place += len(token)
            continue
        reach = _end_of_part(name, place) if token == "*" else len(name)
        end = max(end for end in ends if place <= end <= reach)
        found.append(name[place:end])
        place = end
    return found


def _starts(tokens: Sequence[str], name: str) -> list[Places]:
    """Return for each token the positions at which it can start so that the rest matches.

    The last entry is the end of the name.
    """
    found = [{len(name)}]
    for token in reversed(tokens):
        found.append(_before(token, found[-1], name) if found[-1] else set())
    return found[::-1]


def _before(token: str, ends: Places, name: str) -> Places:
    """Yield the positions at which a token can start that ends at one of `ends`."""
    if token not in _WILD:
        size = len(token)
        return {end - size for end in ends if name.endswith(token, 0, end)}
    if token == "**":
        return set(range(max(ends) + 1))
    if token == "*":
        return set(_inside_parts(ends, name))
    if token == "?":
        return {end - 1 for end in ends if end and name[end - 1] != "/"}
    if token == "/**":  # only at the end
        return {len(name), *_slashes(name)}
    return ends.union(range(max((end for end in ends if end and name[end - 1] == "/"), default=0)))


def _slashes(name: str) -> Iterator[int]:
    place = name.find("/")
    while place >= 0:
        yield place
        place = name.find("/", place + 1)


def _inside_parts(ends: Places, name: str) -> Iterator[int]:
    """Yield each position in `ends`, and all before it in the same part of the address."""
    done = len(name) + 1
    for end in sorted(ends, reverse=True):
        first = name.rfind("/", 0, end) + 1
        yield from range(first, min(end + 1, done))
        done = min(done, first)


def _end_of_part(name: str, place: int) -> int:
    end = name.find("/", place)
    return len(name) if end < 0 else end
