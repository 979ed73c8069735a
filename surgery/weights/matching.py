"""Matching of a model's weights with the weights of a donor."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from surgery.errors import nearest
from surgery.weights.arithmetic import goes_into, is_whole
from surgery.weights.naming import renamed, stars
from surgery.weights.tensor import Tensor
from surgery.weights.weight import Weight

_MOST_NAMED = 5


@dataclass
class Matching:
    """Matched pairs (weight, donor's weight), and the weights that did not match, as texts."""

    pairs: list[tuple[Weight, Weight]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    other_shape: list[str] = field(default_factory=list)
    other_kind: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)

    def problems(self) -> Iterator[str]:
        """Yield a text for each reason why weights have no donor."""
        if self.missing:
            yield f"not in the donor: {names(self.missing)}"
        if self.other_shape:
            yield f"of another shape there: {names(self.other_shape)}"
        if self.other_kind:
            yield f"of another kind of number there: {names(self.other_kind)}"


def matching(
    weights: Iterable[Weight],
    donors: Iterable[Weight],
    patterns: Mapping[str, str],
    known: Container[str] | None = None,
) -> Matching:
    """Match weights with donors by address.

    `patterns` ({pattern: new name}) rename the donors; a renamed donor takes precedence over
    one that has the name by itself. With `known`, a container of all addresses, each pattern
    must lead to at least one of them. Raises ValueError for patterns that are wrong or lead to
    none.
    """
    named = _named(donors, patterns)
    made = {each.name for each in named if each.pattern}
    own = [each for each in named if each.pattern or each.name not in made]
    there = _unique(own)
    if known is not None:
        _check_reached(named, patterns, known)
    found = Matching()
    for weight in weights:
        donor = there.pop(weight.address, None)
        if donor is None:
            found.missing.append(weight.address)
        elif donor.tensor.shape != weight.tensor.shape:
            shapes = f"{list(donor.tensor.shape)}, here {list(weight.tensor.shape)}"
            found.other_shape.append(f"{weight.address} ({shapes})")
        elif not _fits(donor.tensor, weight.tensor.dtype):
            kinds = f"{donor.tensor.dtype.name}, here {weight.tensor.dtype.name}"
            found.other_kind.append(f"{weight.address} ({kinds})")
        else:
            found.pairs.append((weight, donor))
    hidden = [each.weight for each in named if not each.pattern and each.name in made]
    found.left_over = [weight.address for weight in (*there.values(), *hidden)]
    return found


def _fits(tensor: Tensor, dtype: np.dtype[Any]) -> bool:
    """Return whether a tensor fits a dtype up to rounding; integers are read to find out."""
    if goes_into(tensor.dtype, dtype):
        return True
    if not (is_whole(tensor.dtype) and is_whole(dtype)):
        return False
    return all(np.array_equal(chunk.astype(dtype), chunk) for chunk in tensor.chunks())


class _Named(NamedTuple):
    """A weight, its name after the patterns, and the pattern that matched ("" for none)."""

    weight: Weight
    name: str
    pattern: str


def mapped(weights: Iterable[Weight], patterns: Mapping[str, str]) -> dict[str, Weight]:
    """Return the weights by their names after the patterns, of which the first match counts.

    Raises ValueError if two weights get one name, or a pattern is wrong or matches nothing.
    """
    return _unique(_named(weights, patterns))


def _named(weights: Iterable[Weight], patterns: Mapping[str, str]) -> list[_Named]:
    """Return the weights with their names after the patterns; raises ValueError."""
    for pattern, to in patterns.items():
        _check_stars(pattern, to)
    found = [_Named(weight, *_new_name(weight.address, patterns)) for weight in weights]
    used = {each.pattern for each in found}
    for weight, name, pattern in found:
        if not name:
            raise ValueError(f"{pattern!r} leaves {weight.address} without a name")
    for pattern in patterns:
        if pattern not in used:
            raise ValueError(_unmatched(pattern, [each.weight.address for each in found]))
    return found


def _unique(named: Iterable[_Named]) -> dict[str, Weight]:
    found: dict[str, Weight] = {}
    for weight, name, _ in named:
        if name in found:
            raise ValueError(f"{found[name].address} and {weight.address} get one name: {name}")
        found[name] = weight
    return found


def _check_reached(
    named: Iterable[_Named], patterns: Mapping[str, str], known: Container[str]
) -> None:
    """Raise ValueError for a pattern none of whose resulting names exists."""
    idle = {pattern: name for _, name, pattern in named if pattern}
    for _, name, pattern in named:
        if name in known:
            idle.pop(pattern, None)
    for pattern, name in idle.items():
        raise ValueError(
            f"{pattern!r} -> {patterns[pattern]!r} gives {name}, which is not a weight here"
        )


def _new_name(address: str, patterns: Mapping[str, str]) -> tuple[str, str]:
    """Return an address's new name and the pattern that matched; "" if none did."""
    for pattern, to in patterns.items():
        name = renamed(pattern, to, address)
        if name is not None:
            return name, pattern
    return address, ""


def _check_stars(pattern: str, to: str) -> None:
    if not pattern.startswith("re:") and stars(pattern) != stars(to):
        raise ValueError(
            f"{pattern!r} has {stars(pattern)} * and {to!r} has {stars(to)}; each takes what the "
            r"one in its place matched, so write re: with groups and \1 to leave out or move a part"
        )


def _unmatched(pattern: str, addresses: Sequence[str]) -> str:
    if any(renamed(pattern, "", address) is not None for address in addresses):
        return f"{pattern!r} matches nothing that a pattern before it does not match"
    close = nearest(pattern, addresses, 3) or addresses[:3]
    return f"{pattern!r} matches no weight; the nearest are {', '.join(close)}"


def pairs_said(names_: Mapping[str, str]) -> str:
    """Return a few `old -> new` pairs as text, and how many more there are."""
    return names([f"{old} -> {new}" for old, new in names_.items()])


def names(addresses: Sequence[str]) -> str:
    """Return the first few addresses as text, and how many more there are."""
    count = len(addresses) - _MOST_NAMED
    more = f" and {count} more" if count > 0 else ""
    return ", ".join(addresses[:_MOST_NAMED]) + more
