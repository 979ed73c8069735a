"""Labels of channels, of which those that must go together are joined."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from surgery.weights.tensor import Array

Role = Literal["out", "in", "along", "scale"]


@dataclass(frozen=True)
class Cut:
    """An axis of a variable that is indexed by channels.

    Attributes:
        layer: the address of the layer that a selector names.
        address: that of the variable.
        axis: the axis.
        labels: the label of each index.
        role: `out` makes the channels, `in` reads them, `along` has an element for each, and
            `scale` is such a variable that multiplies them, the gamma of a BatchNormalization.
    """

    layer: str
    address: str
    axis: int
    labels: Array
    role: Role


@dataclass(frozen=True)
class Edit:
    """Numbers in a layer's config that count channels.

    Attributes:
        layer: the layer's address.
        keys: the path in its config.
        labels: what is counted; a tuple of them for a list of numbers.
    """

    layer: str
    keys: tuple[str | int, ...]
    labels: Array | tuple[Array, ...]

    def value(self, alive: Array) -> int | list[int]:
        """Return the numbers, given which labels are kept."""
        if isinstance(self.labels, tuple):
            return [int(alive[each].sum()) for each in self.labels]
        return int(alive[self.labels].sum())

    def all_labels(self) -> tuple[Array, ...]:
        """Return the labels of each number."""
        return self.labels if isinstance(self.labels, tuple) else (self.labels,)


@dataclass
class Labels:
    """A union-find of labels, and what is known of them.

    Attributes:
        count: how many labels there are.
        cuts, edits: where they stand in variables and configs.
        pins: labels that must stay, each with the reason.
        mixes: labels of which a layer makes one number (a mean, a softmax), with that layer.
    """

    count: int = 0
    cuts: list[Cut] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    pins: list[tuple[Array, str]] = field(default_factory=list)
    mixes: list[tuple[Array, str]] = field(default_factory=list)
    _joined: list[tuple[Array, Array]] = field(default_factory=list)

    def fresh(self, size: int) -> Array:
        """Return labels that no channel has yet."""
        made: Array = np.arange(self.count, self.count + size)
        self.count += size
        return made

    def join(self, one: Array, other: Array) -> None:
        """Say that the labels in each place of two arrays are kept or removed together."""
        pair = np.broadcast_arrays(one, other)
        self._joined.append((pair[0].ravel(), pair[1].ravel()))

    def pin(self, labels: Array | None, why: str) -> None:
        """Say that labels must stay; None is an axis without labels."""
        if labels is not None and labels.size:
            self.pins.append((labels.ravel(), why))

    def mix(self, labels: Array | None, why: str) -> None:
        """Say that a layer makes one number of labels; None is an axis without labels."""
        if labels is not None and labels.size:
            self.mixes.append((labels.ravel(), why))

    def classes(self) -> Array:
        """Return the class of each label: the lowest label that it is joined to."""
        root: Array = np.arange(self.count)
        if not self._joined:
            return root
        one, other = (np.concatenate(side) for side in zip(*self._joined, strict=True))
        while (root[one] != root[other]).any():
            low = np.minimum(root[one], root[other])
            np.minimum.at(root, root[one], low)
            np.minimum.at(root, root[other], low)
            while (root[root] != root).any():
                root = root[root]
        return root


Tensors = Any
"""A structure of `Traced` tensors, as arguments of a call are nested."""


@dataclass(frozen=True)
class Traced:
    """A tensor: for each axis its labels (None where none is removed) and its size.

    `shape` is None where it is not known.
    """

    labels: tuple[Array | None, ...]
    shape: tuple[int | None, ...] | None

    @classmethod
    def plain(cls, shape: tuple[int | None, ...] | None) -> Traced:
        """Return a tensor without labels."""
        return cls((None,) * len(shape or ()), shape)
