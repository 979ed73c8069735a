"""Families: channels that are made by the same layers and stand in the same places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from surgery.structure.labels import Cut, Labels
from surgery.weights.tensor import Array


@dataclass(frozen=True)
class Family:
    """Classes of labels that are alike but for the values of weights.

    Attributes:
        makers: the addresses of the layers that make them.
        classes: all of them, in ascending order.
        free: those without a pin.
        why: the reasons of the pins, each with how many classes it holds.
    """

    makers: tuple[str, ...]
    classes: Array
    free: Array
    why: Mapping[str, int]

    def __str__(self) -> str:
        more = len(self.makers) - 1
        return self.makers[0] + (f" and {more} more" if more else "")


@dataclass(frozen=True)
class Families:
    """The families of a model, and what their channels are joined by.

    Attributes:
        root: the class of each label.
        families: those that layers make.
    """

    labels: Labels
    root: Array
    families: Sequence[Family]

    def alive(self, dead: Array) -> Array:
        """Return which labels are kept, given the classes that are removed."""
        gone = np.zeros(self.root.size, bool)
        gone[dead] = True
        result: Array = ~gone[self.root]
        return result

    def first(self, counts: Sequence[int]) -> Array:
        """Return the first classes of each family, so many of them.

        Classes of a family stand in the same places, so all sizes are as with any others.
        """
        found = [f.free[:n] for f, n in zip(self.families, counts, strict=True)]
        return np.concatenate([np.empty(0, np.intp), *found])


def families_of(labels: Labels, with_mixed: bool = False) -> Families:
    """Return the families; `with_mixed` frees channels that a layer looks at together."""
    root = labels.classes()
    pins = labels.pins if with_mixed else [*labels.pins, *labels.mixes]
    why: dict[int, str] = {}
    for pinned, reason in pins:
        for each in np.unique(root[pinned]).tolist():
            why.setdefault(each, reason)
    makers: dict[int, dict[str, None]] = {}
    for cut in labels.cuts:
        if cut.role == "out":
            for each in np.unique(root[cut.labels]).tolist():
                makers.setdefault(each, {})[cut.layer] = None
    groups: dict[int, list[int]] = {}
    for each, group in zip(makers, _groups(labels, root)[list(makers)].tolist(), strict=True):
        groups.setdefault(group, []).append(each)
    found = [_family(sorted(classes), makers, why) for classes in groups.values()]
    return Families(labels, root, sorted(found, key=lambda family: int(family.classes[0])))


def _family(
    classes: Sequence[int], makers: Mapping[int, Mapping[str, None]], why: Mapping[int, str]
) -> Family:
    reasons: dict[str, int] = {}
    for each in classes:
        if each in why:
            reasons[why[each]] = reasons.get(why[each], 0) + 1
    free = [each for each in classes if each not in why]
    return Family(
        tuple(makers[classes[0]]), np.array(classes), np.array(free, dtype=np.intp), reasons
    )


def _groups(labels: Labels, root: Array) -> Array:
    """Return a number for each class, equal for those that stand as often in the same places."""
    group = np.zeros(root.size, np.intp)
    count = 1
    for place in _places(labels):
        classes, times = np.unique(root[place], return_counts=True)
        pairs = np.stack([group[classes], times])
        _, inverse = np.unique(pairs, axis=1, return_inverse=True)
        group[classes] = count + inverse.reshape(-1)
        count += int(inverse.max(initial=-1)) + 1
    return group


def _places(labels: Labels) -> Iterator[Array]:
    for cut in labels.cuts:
        yield cut.labels
    for edit in labels.edits:
        yield from edit.all_labels()


def by_variable(labels: Labels) -> Mapping[str, Sequence[Cut]]:
    """Return the cuts of each variable by its address, in the order of axes."""
    found: dict[str, list[Cut]] = {}
    for cut in labels.cuts:
        found.setdefault(cut.address, []).append(cut)
    return {a: sorted(cuts, key=lambda cut: cut.axis) for a, cuts in found.items()}
