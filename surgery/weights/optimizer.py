"""Optimizer state tied to the weights it belongs to, so that it follows them through surgery.

Keras keeps an optimizer's variables in one list: a few scalars, then for each kind of slot
one variable for every trainable weight, in order. On reading, each weight gets its slots; on
writing, the list is built again from the weights that are trainable then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from surgery.weights.tensor import Array, FunctionTensor, Named, Tensor
from surgery.weights.weight import Weight

Groups = tuple[tuple[str, ...], ...]

_SLOTS: Mapping[str, Groups] = {
    "Adadelta": (("accumulated_grad", "accumulated_delta_var"),),
    "Adagrad": (("accumulator",),),
    "Adam": (("momentum", "velocity"),),
    "AdamW": (("momentum", "velocity"),),
    "Adamax": (("momentum", "norm"),),
    "Ftrl": (("accumulator", "linear"),),
    "Lamb": (("momentum", "velocity"),),
    "Lion": (("momentum",),),
    "Nadam": (("momentum", "velocity"),),
    "RMSprop": (("velocity",),),
    "SGD": (),
    "ScheduleFreeAdamW": (("momentum", "velocity"),),
}
"""The slots of Keras 3's optimizers (3.0 to 3.15); the slots of one group alternate.

Adafactor and Muon are left out: they do not have one slot of each kind for every weight.
"""


@dataclass(frozen=True)
class Layout:
    """The layout of an optimizer's list of variables.

    `before` and `after` are the scalars that belong to no weight (iteration, learning rate);
    `starts` has the initial value of each kind of slot, or None for the weight's own values.
    """

    optimizer: str
    groups: Groups
    before: tuple[Named, ...]
    after: tuple[Named, ...]
    starts: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def slots(self) -> tuple[str, ...]:
        """The kinds of slots of each weight, in order."""
        return tuple(name for group in self.groups for name in group)

    def variables(self, trained: Sequence[Weight]) -> tuple[Named, ...]:
        """Return the optimizer's list for the trained weights, new slots where one has none."""
        own = [w.slots or tuple(self._new(w, name) for name in self.slots) for w in trained]
        found: list[Named] = list(self.before)
        first = 0
        for group in self.groups:
            found += [slot for slots in own for slot in slots[first : first + len(group)]]
            first += len(group)
        return (*found, *self.after)

    def _new(self, weight: Weight, name: str) -> Named:
        start = self.starts.get(name, 0.0)
        full = f"{self.optimizer}/{weight.address.replace('/', '_')}_{name}"
        return full, weight.tensor if start is None else _filled(weight.tensor, start)


def _filled(like: Tensor, value: float) -> Tensor:
    def read(start: int, stop: int) -> Array:
        return np.full(stop - start, value, like.dtype)

    return FunctionTensor(like.shape, like.dtype, read)


def layout_of(
    optimizer: Mapping[str, Any], variables: Sequence[Named], trained: Sequence[Weight]
) -> tuple[Layout, Sequence[tuple[Named, ...]]] | None:
    """Return (the layout of an optimizer's list, the slots of each trained weight).

    `optimizer` is its serialised config. None if the list does not match the config.
    """
    numbers_before, class_name, config = 0, str(optimizer.get("class_name")), optimizer["config"]
    if class_name == "LossScaleOptimizer":  # it keeps four numbers of its own
        inner = config["inner_optimizer"]
        numbers_before, class_name, config = 4, str(inner["class_name"]), inner["config"]
    if class_name not in _SLOTS:
        return None
    groups = _groups(class_name, config)
    numbers_before += 1 if isinstance(config.get("learning_rate"), Mapping) else 2
    numbers_after = 1 if class_name == "Nadam" else 0
    kinds = sum(len(group) for group in groups)
    if len(variables) != numbers_before + kinds * len(trained) + numbers_after:
        return None
    last = len(variables) - numbers_after
    slots = _by_weight(variables[numbers_before:last], groups, len(trained))
    if any(
        slot.shape != weight.tensor.shape
        for weight, own in zip(trained, slots, strict=True)
        for _, slot in own
    ):
        return None
    before, after = tuple(variables[:numbers_before]), tuple(variables[last:])
    return Layout(class_name.lower(), groups, before, after, _starts(class_name, config)), slots


def _groups(class_name: str, config: Mapping[str, Any]) -> Groups:
    optional = (
        (bool(config.get("momentum")) and class_name in ("SGD", "RMSprop"), "momentum"),
        (bool(config.get("centered")), "average_gradient"),
        (bool(config.get("amsgrad")), "velocity_hat"),
    )
    first = (
        (bool(config.get("use_ema")), "average"),
        (bool(config.get("gradient_accumulation_steps")), "gradient_accumulator"),
    )
    return (
        *((name,) for used, name in first if used),
        *_SLOTS[class_name],
        *((name,) for used, name in optional if used),
    )


def _by_weight(
    variables: Sequence[Named], groups: Groups, count: int
) -> Sequence[tuple[Named, ...]]:
    slots: list[tuple[Named, ...]] = [() for _ in range(count)]
    first = 0
    for group in groups:
        for number in range(count):
            own = variables[first + number * len(group) : first + (number + 1) * len(group)]
            slots[number] += tuple(own)
        first += len(group) * count
    return slots


def _starts(class_name: str, config: Mapping[str, Any]) -> Mapping[str, float | None]:
    starts: dict[str, float | None] = {"average": None}
    if class_name in ("Adagrad", "Ftrl"):
        starts["accumulator"] = float(config.get("initial_accumulator_value", 0.1))
    if class_name == "ScheduleFreeAdamW":
        starts["momentum"] = None
    return starts
