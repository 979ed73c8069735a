"""Which weights of one model take those of another, and what does not fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from surgery.weights.naming import renamed
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
        elif is_whole(donor.tensor.dtype) != is_whole(weight.tensor.dtype):
            kinds = f"{donor.tensor.dtype.name}, here {weight.tensor.dtype.name}"
            found.other_kind.append(f"{weight.address} ({kinds})")
        else:
            found.pairs.append((weight, donor))
    found.left_over = [weight.address for weight in there.values()]
    return found


def is_whole(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype is of whole numbers or truth values: quantised weights, counters."""
    return dtype.name.startswith(("int", "uint", "bool"))


def mapped(weights: Iterable[Weight], patterns: Mapping[str, str]) -> dict[str, Weight]:
    """The weights by what the patterns make of their addresses.

    Raises ValueError where that is one name for two, or a pattern is wrong.
    """
    found: dict[str, Weight] = {}
    for weight in weights:
        new = (renamed(pattern, to, weight.address) for pattern, to in patterns.items())
        name = next((name for name in new if name is not None), weight.address)
        if name in found:
            raise ValueError(f"{found[name].address} and {weight.address} get one name: {name}")
        found[name] = weight
    return found


def names(addresses: Sequence[str]) -> str:
    """A few of them, and how many more there are."""
    count = len(addresses) - _MOST_NAMED
    more = f" and {count} more" if count > 0 else ""
    return ", ".join(addresses[:_MOST_NAMED]) + more
