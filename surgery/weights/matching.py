"""Matching of a model's weights with the weights of a donor."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from surgery.errors import nearest
from surgery.weights.arithmetic import goes_into, is_whole
from surgery.weights.naming import renamed, stars
from surgery.weights.slot_names import owner, with_owner
from surgery.weights.tensor import Tensor
from surgery.weights.weight import Weight

_MOST_NAMED = 5

Targets = str | Sequence[str] | None
"""The new name for a pattern, a list of them, or None to leave out what matches."""

Patterns = Mapping[str, Targets]


@dataclass(frozen=True)
class NameMap:
    """Patterns of addresses, each with the new address, a list of them, or None to leave out."""

    pairs: Patterns

    @classmethod
    def from_recipe(cls, value: object, _folder: Path) -> NameMap:
        """Read a mapping; raises ValueError if it has an empty list."""
        if not isinstance(value, Mapping):
            raise TypeError
        for pattern, to in value.items():
            if isinstance(to, list) and not to:
                raise ValueError(f"{pattern!r} has an empty list; null leaves out what it matches")
            if not all(each is None or isinstance(each, str) for each in _each(to)):
                raise TypeError
        return cls(value)

    @classmethod
    def schema(cls) -> Mapping[str, object]:
        """Return its JSON Schema; patterns are checked when they are matched."""
        texts = {"type": ["string", "array", "null"], "items": {"type": "string"}}
        return {"type": "object", "additionalProperties": texts}

    def __str__(self) -> str:
        return pairs_said({old: ", ".join(map(str, _each(to))) for old, to in self.pairs.items()})


def _each(to: Targets) -> Sequence[str | None]:
    return [to] if to is None or isinstance(to, str) else to


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
    patterns: Patterns,
    known: Container[str] | None = None,
) -> Matching:
    """Match weights with donors by address.

    `patterns` rename the donors; a renamed donor takes precedence over one that has the name by
    itself. With `known`, a container of all addresses, each pattern
    must lead to at least one of them. Raises ValueError for patterns that are wrong or lead to
    none.
    """
    named = _named(donors, patterns)
    made = {each.name for each in named if each.pattern}
    own = [each for each in named if each.pattern or each.name not in made]
    if known is not None:
        _check_reached(named, known)
    found = paired(weights, _unique(own))
    found.left_over += [each.weight.address for each in named if not each.pattern
                        and each.name in made]  # fmt: skip
    return found


def paired(
    weights: Iterable[Weight], donors: Mapping[str, Weight], reshape: bool = False
) -> Matching:
    """Match weights with the donors that have their addresses as keys.

    With `reshape`, a donor may have another shape of as many elements.
    """
    there = dict(donors)
    found = Matching()
    for weight in weights:
        donor = there.pop(weight.address, None)
        if donor is None:
            found.missing.append(weight.address)
        elif not _is_as_large(donor.tensor, weight.tensor, reshape):
            shapes = f"{list(donor.tensor.shape)}, here {list(weight.tensor.shape)}"
            found.other_shape.append(f"{weight.address} ({shapes})")
        elif not _fits(donor.tensor, weight.tensor.dtype):
            kinds = f"{donor.tensor.dtype.name}, here {weight.tensor.dtype.name}"
            found.other_kind.append(f"{weight.address} ({kinds})")
        else:
            found.pairs.append((weight, donor))
    found.left_over = [weight.address for weight in there.values()]
    return found


def _is_as_large(tensor: Tensor, other: Tensor, reshape: bool) -> bool:
    return tensor.size == other.size if reshape else tensor.shape == other.shape


def _fits(tensor: Tensor, dtype: np.dtype[Any]) -> bool:
    """Return whether a tensor fits a dtype up to rounding; integers are read to find out."""
    if goes_into(tensor.dtype, dtype):
        return True
    if not (is_whole(tensor.dtype) and is_whole(dtype)):
        return False
    return all(np.array_equal(chunk.astype(dtype), chunk) for chunk in tensor.chunks())


class _Named(NamedTuple):
    """A weight, a name after the patterns, and the pattern that matched ("" for none)."""

    weight: Weight
    name: str
    pattern: str
    to: str = ""


def mapped(weights: Iterable[Weight], patterns: Patterns) -> dict[str, Weight]:
    """Return the weights by their names after the patterns, of which the first match counts.

    A weight whose pattern has a list of names is there under each of them, and one whose pattern
    has None is left out. Raises ValueError if two weights get one name, or a pattern is wrong or
    matches nothing.
    """
    return _unique(_named(weights, patterns))


def mapped_only(
    weights: Iterable[Weight], patterns: Patterns, known: Container[str] | None = None
) -> dict[str, Weight]:
    """Return as `mapped` does the weights that a pattern matches.

    With `known`, also raises ValueError for a name that is not in it.
    """
    named = [each for each in _named(weights, patterns) if each.pattern]
    for _, name, pattern, to in named:
        if known is not None and name not in known:
            raise ValueError(_unknown(pattern, to, name))
    return _unique(named)


def _unknown(pattern: str, to: str, name: str) -> str:
    return f"{pattern!r} -> {to!r} gives {name}, which is not a weight here"


def _named(weights: Iterable[Weight], patterns: Patterns) -> list[_Named]:
    """Return the weights with each of their names after the patterns; raises ValueError."""
    for pattern, targets in patterns.items():
        for each in _each(targets):
            _check_stars(pattern, each)
    found, used, addresses = [], set(), []
    for weight in weights:
        addresses.append(weight.address)
        first = next((p for p in patterns if _match(p, weight.address)), None)
        if first is None:
            found.append(_Named(weight, weight.address, ""))
            continue
        used.add(first)
        for to in _each(patterns[first]):
            if to is not None:
                found.append(_Named(weight, _new_name(first, to, weight.address), first, to))
    for pattern in patterns:
        if pattern not in used:
            raise ValueError(_unmatched(pattern, addresses))
    return found


def _match(pattern: str, address: str) -> bool:
    return renamed(pattern, "", address) is not None


def _new_name(pattern: str, to: str, address: str) -> str:
    """Return the new name of an address that the pattern matches; raises ValueError if empty."""
    name = renamed(pattern, to, address)
    if not name:
        raise ValueError(f"{pattern!r} leaves {address} without a name")
    return name


def _unique(named: Iterable[_Named]) -> dict[str, Weight]:
    found: dict[str, Weight] = {}
    for weight, name, *_ in named:
        if name in found:
            raise ValueError(f"{found[name].address} and {weight.address} get one name: {name}")
        found[name] = weight
    return found


def _check_reached(named: Iterable[_Named], known: Container[str]) -> None:
    """Raise ValueError for a pattern none of whose resulting names exists."""
    idle: dict[tuple[str, str], str] = {}
    reached = set()
    for _, name, pattern, to in named:
        if name in known:
            reached.add((pattern, to))
        elif pattern:
            idle[pattern, to] = name
    for (pattern, to), name in idle.items():
        if (pattern, to) not in reached:
            raise ValueError(_unknown(pattern, to, name))


def _check_stars(pattern: str, to: str | None) -> None:
    if to is not None and not pattern.startswith("re:") and stars(pattern) != stars(to):
        raise ValueError(
            f"{pattern!r} has {stars(pattern)} * and {to!r} has {stars(to)}; each takes what the "
            r"one in its place matched, so write re: with groups and \1 to leave out or move a part"
        )


def _unmatched(pattern: str, addresses: Sequence[str]) -> str:
    if any(_match(pattern, address) for address in addresses):
        return f"{pattern!r} matches nothing that a pattern before it does not match"
    close = nearest(pattern, addresses, 3) or addresses[:3]
    return f"{pattern!r} matches no weight; the nearest are {', '.join(close)}"


def following(
    found: Mapping[str, Weight], weights: Iterable[Weight], states: Sequence[Weight]
) -> dict[str, Weight]:
    """Return states by new name: slots `w/Adam` and `training/Adam/w/m` are renamed with `w`.

    `weights` are all weights, `found` has those that are kept, by new name; slots of the others
    are left out. Raises ValueError if a state gets the name of another variable.
    """
    new: dict[str, list[str]] = {weight.address: [] for weight in weights}
    for name, weight in found.items():
        new[weight.address].append(name)
    slots: dict[str, Weight] = {}
    for state in states:
        of = owner(state.address, new)
        for to in [of] if of is None else new[of]:
            name = with_owner(state.address, of, to) if of and to else state.address
            if name in found or name in slots:
                raise ValueError(f"{name} is already the name of another variable")
            slots[name] = state
    return slots


def pairs_said(names_: Mapping[str, str]) -> str:
    """Return a few `old -> new` pairs as text, and how many more there are."""
    return names([f"{old} -> {new}" for old, new in names_.items()])


def names(addresses: Sequence[str]) -> str:
    """Return the first few addresses as text, and how many more there are."""
    count = len(addresses) - _MOST_NAMED
    more = f" and {count} more" if count > 0 else ""
    return ", ".join(addresses[:_MOST_NAMED]) + more
