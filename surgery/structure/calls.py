"""A call of a layer, as the rules see it, with the channels of its inputs and weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from surgery.architecture import Layer
from surgery.architecture.entries import class_of, join
from surgery.architecture.graph.model import Entry
from surgery.structure.activations import ELEMENTWISE, NORMALIZING
from surgery.structure.labels import Cut, Edit, Labels, Role, Tensors, Traced
from surgery.weights.tensor import Array

Axis = Array | None
Outputs = Sequence[Sequence[Axis]] | None
"""The labels of each axis of each output; None where nothing is known of them."""


@dataclass(frozen=True)
class At:
    """One call of a layer.

    Attributes:
        labels: to which a rule adds.
        made: the labels that layers make and read, by layer and key, for all their calls.
        layer: the address that selectors know; a wrapper's for the layer inside it.
        tree: the layer with its variables and children, None for an operation.
        entry: its config entry.
        args, kwargs: the arguments, tensors as `Traced`.
        tensors: the tensors among them, without masks.
        outputs: the shapes of what it returns.
        is_first: whether it is the layer's first call.
        keys: the path from the config at `layer` to this layer's own.
    """

    labels: Labels
    made: dict[tuple[str, Any], Axis]
    layer: str
    tree: Layer | None
    entry: Entry
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    tensors: Sequence[Traced]
    outputs: Sequence[tuple[int | None, ...] | None]
    is_first: bool
    keys: tuple[str | int, ...] = ()

    @property
    def config(self) -> Mapping[str, Any]:
        """The layer's config."""
        config: Mapping[str, Any] = self.entry["config"]
        return config

    @property
    def class_name(self) -> str:
        """The layer's class."""
        return class_of(self.entry)

    @property
    def x(self) -> Sequence[Axis]:
        """The labels of the first tensor."""
        return self.tensors[0].labels

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The shape of the first tensor."""
        return self.tensors[0].shape or ()

    @property
    def address(self) -> str:
        """The address of the layer itself, by which its variables are called."""
        return self.tree.address if self.tree is not None else self.layer

    def why(self, reason: str) -> str:
        """Return a reason with the layer's name and class."""
        return f"{self.layer} ({self.class_name}) {reason}"

    def pin(self, axes: Iterable[Axis] | Axis, reason: str) -> None:
        """Say that the labels of an axis, or of several, must stay."""
        for each in [axes] if axes is None or isinstance(axes, np.ndarray) else axes:
            self.labels.pin(each, self.why(reason))

    def mix(self, labels: Axis) -> None:
        """Say that the layer looks at channels together."""
        self.labels.mix(labels, self.why("looks at these channels together"))

    def cut(self, variable: str, axis: int, labels: Axis, role: Role, child: str = "") -> None:
        """Say by which labels an axis of a variable is indexed."""
        if labels is not None and self.is_first:
            address = join(child or self.address, variable)
            self.labels.cuts.append(Cut(self.layer, address, axis, labels, role))

    def edit(self, keys: str | tuple[str | int, ...], labels: Array | tuple[Array, ...]) -> None:
        """Say which number in the config counts which labels."""
        if self.is_first:
            path = (keys,) if isinstance(keys, str) else keys
            self.labels.edits.append(Edit(self.layer, (*self.keys, *path), labels))

    def make(self, size: int, key: str = "out") -> Array:
        """Return the labels of channels that the layer makes, the same ones in each call."""
        place = self.address, key
        if place not in self.made:
            self.made[place] = self.labels.fresh(size)
        made = self.made[place]
        assert made is not None
        return made

    def read(self, labels: Axis, key: Any = "in") -> Axis:
        """Return labels that variables are indexed by, joined with those of other calls."""
        place = self.address, key
        if place not in self.made:
            self.made[place] = labels
            return labels
        first = self.made[place]
        if first is not None and labels is not None:
            self.labels.join(first, labels)
        else:
            self.pin([first, labels], "is also called on channels that must stay")
        return labels

    def axis(self) -> int:
        """Return the axis of the channels."""
        is_first = self.config.get("data_format") == "channels_first"
        return 1 if is_first else len(self.x) - 1

    def only(self, axis: int, x: Sequence[Axis] | None = None) -> Axis:
        """Return the labels of one axis, and pin those of the others."""
        axes = self.x if x is None else x
        self.pin([each for i, each in enumerate(axes) if i != axis], "works along that axis")
        return axes[axis]

    def placed(self, labels: Axis, axis: int, rank: int) -> list[Axis]:
        """Return axes of which one has labels."""
        return [labels if i == axis else None for i in range(rank)]

    def activated(self, labels: Axis, key: str = "activation", others: Sequence[Axis] = ()) -> None:
        """Note the effect of the layer's activation on the last axis of its output.

        One that is not known may act along the other axes, too.
        """
        name = self.config.get(key)
        if isinstance(name, str) and name in NORMALIZING:
            self.mix(labels)
        elif name is not None and not (isinstance(name, str) and name in ELEMENTWISE):
            self.pin(
                [labels, *others], "has an activation that is not known to act on each channel"
            )

    def named(self, names: Sequence[str]) -> dict[str, Traced]:
        """Return the tensors of arguments by name, given the names of the positional ones."""
        found = {**dict(zip(names, self.args, strict=False)), **self.kwargs}
        return {name: value for name, value in found.items() if isinstance(value, Traced)}

    def inside(self, entry: Entry, tree: Layer | None, keys: tuple[str, ...]) -> At:
        """Return the call of a layer inside this one, on the same tensors."""
        return replace(self, entry=entry, tree=tree, keys=(*self.keys, *keys))

    def children(self) -> Sequence[Layer]:
        """Return the layers inside this one."""
        return self.tree.children if self.tree is not None else ()


Rule = Callable[[At], Outputs]


@dataclass(frozen=True)
class Rules:
    """The rules by class name."""

    found: dict[str, Rule] = field(default_factory=dict)

    def __call__(self, *class_names: str) -> Callable[[Rule], Rule]:
        """Register a rule for classes; a decorator."""

        def register(rule: Rule) -> Rule:
            self.found.update(dict.fromkeys(class_names, rule))
            return rule

        return register


LAYERS, OPERATIONS = Rules(), Rules()


def leaves(value: Tensors) -> list[Any]:
    """Return what is in a structure of arguments."""
    if isinstance(value, Mapping) and "class_name" not in value:
        return [leaf for key in sorted(value) for leaf in leaves(value[key])]
    if isinstance(value, list | tuple):
        return [leaf for each in value for leaf in leaves(each)]
    return [value]
