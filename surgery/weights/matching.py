"""Which weights of one model take those of another, and what does not fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from surgery.errors import nearest
from surgery.weights.arithmetic import goes_into
from surgery.weights.naming import renamed, stars
from surgery.weights.weight import Weight

_MOST_NAMED = 5


@dataclass
class Matching:
    """Pairs of a weight and its donor, and what is missing, does not fit, or is left over."""

    pairs: list[tuple[Weight, Weight]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    other_shape: list[str] = field(default_factory=list)
    other_kind: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)

    def problems(self) -> Iterator[str]:
        """What keeps weights from getting a donor."""
        if self.missing:
            yield f"not in the donor: {names(self.missing)}"
        if self.other_shape:
            yield f"of another shape there: {names(self.other_shape)}"
        if self.other_kind:
            yield f"of another kind of number there: {names(self.other_kind)}"


def matching(
    weights: Iterable[Weight], donors: Iterable[Weight], patterns: Mapping[str, str]
) -> Matching:
    """Match by address; `patterns` give the donors other names. Raises ValueError for bad ones."""
    there = mapped(donors, patterns)
    found = Matching()
    for weight in weights:
        donor = there.pop(weight.address, None)
        if donor is None:
            found.missing.append(weight.address)
        elif donor.tensor.shape != weight.tensor.shape:
            shapes = f"{list(donor.tensor.shape)}, here {list(weight.tensor.shape)}"
            found.other_shape.append(f"{weight.address} ({shapes})")
        elif not goes_into(donor.tensor.dtype, weight.tensor.dtype):
            kinds = f"{donor.tensor.dtype.name}, here {weight.tensor.dtype.name}"
            found.other_kind.append(f"{weight.address} ({kinds})")
        else:
            found.pairs.append((weight, donor))
    found.left_over = [weight.address for weight in there.values()]
    return found


def mapped(weights: Iterable[Weight], patterns: Mapping[str, str]) -> dict[str, Weight]:
    """The weights by what the patterns make of their addresses; the first that matches counts.

    Raises ValueError where that is one name for two, or a pattern is wrong or matches nothing.
    """
    for pattern, to in patterns.items():
        _check_stars(pattern, to)
    found: dict[str, Weight] = {}
    idle = set(patterns)
    for weight in weights:
        name, used = _new_name(weight.address, patterns)
        idle.discard(used)
        if not name:
            raise ValueError(f"{used!r} leaves {weight.address} without a name")
        if name in found:
            raise ValueError(f"{found[name].address} and {weight.address} get one name: {name}")
        found[name] = weight
    for pattern in patterns:
        if pattern in idle:
            raise ValueError(_unmatched(pattern, [weight.address for weight in found.values()]))
    return found


def _new_name(address: str, patterns: Mapping[str, str]) -> tuple[str, str]:
    """What an address becomes, and the pattern that says so, if one does."""
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


def names(addresses: Sequence[str]) -> str:
    """A few of them, and how many more there are."""
    count = len(addresses) - _MOST_NAMED
    more = f" and {count} more" if count > 0 else ""
    return ", ".join(addresses[:_MOST_NAMED]) + more
