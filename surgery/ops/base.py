"""What every op is: a frozen dataclass of its keys, and a function from model to model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from surgery.architecture import snake_case
from surgery.architecture.variables import quantization_mode
from surgery.declared.fields import key
from surgery.declared.registry import Registry
from surgery.weights.arithmetic import is_whole, need_floats
from surgery.weights.matching import names
from surgery.weights.model import Model
from surgery.weights.random import Randomness
from surgery.weights.selectors import Select
from surgery.weights.sources import Donor
from surgery.weights.weight import Weight


@dataclass(frozen=True)
class Op(ABC):
    """One operation; its name in a recipe is its class's name in snake case."""

    name: ClassVar[str]
    changes_weights: ClassVar[bool] = True
    """False for an op that edits the architecture only, or nothing."""

    needs_keras3: ClassVar[bool] = False
    """Whether it acts on a config of Keras 3; an older one is upgraded before the step."""

    array_key: ClassVar[str] = ""
    """The key for which Python code may give an array, which the field `values` takes."""

    draws: Randomness = field(default=Randomness(), kw_only=True, compare=False)
    """Where its random numbers come from, if it draws any; not a key."""

    @property
    def title(self) -> str:
        """What a step without a name is called."""
        return self.name

    @abstractmethod
    def apply(self, model: Model) -> Model:
        """The model with this done to it; nothing is computed yet."""

    def resolved(self, model: Model) -> Op:
        """The op with what depends on the values of weights, which are read for it."""
        return self

    def matched(self, model: Model) -> tuple[Weight, ...]:
        """The weights that the step acts on."""
        return ()

    def changes(self, weights: Sequence[Weight]) -> int | None:
        """At most how many elements change, where that is known without reading them."""
        return sum(weight.tensor.size for weight in weights)

    def renames(self, model: Model) -> Mapping[str, str]:
        """Old names, of layers or of a donor's weights, and what they are called after it."""
        return {}

    def inputs(self) -> tuple[Path, ...]:
        """The files that the step reads, those of its donors left out."""
        return ()

    def donors(self) -> tuple[Donor, ...]:
        """The models that the step takes weights from."""
        return ()


@dataclass(frozen=True, kw_only=True)
class WeightOp(Op):
    """An operation on selected weights."""

    select: Select = key(
        "The weights to change: a pattern over addresses, a list of patterns, or a mapping of "
        "facts.",
        "block1_conv1/kernel",
    )
    allow_empty: bool = key(
        "Let the step do nothing where the selector matches nothing.", True, default=False
    )

    @property
    def title(self) -> str:
        return f"{self.name} {self.select}"

    def matched(self, model: Model) -> tuple[Weight, ...]:
        return self.select.weights(model, self.allow_empty)


@dataclass(frozen=True, kw_only=True)
class FloatOp(WeightOp):
    """An operation that computes with floats.

    Where `**` names counters and flags too, they stay as they are, and a note says so.
    """

    @property
    def only_floats(self) -> bool:
        """Whether the op refuses weights of whole numbers."""
        return True

    @abstractmethod
    def changed(self, model: Model, weights: Sequence[Weight]) -> Model:
        """The model with those weights changed."""

    def check(self, model: Model, weights: Sequence[Weight]) -> None:
        """Raise SelectorError for a weight that it cannot act on."""
        if self.only_floats:
            need_floats(weights, self.name)

    def matched(self, model: Model) -> tuple[Weight, ...]:
        return self._chosen(model)[0]

    def apply(self, model: Model) -> Model:
        weights, left = self._chosen(model)
        changed = self.changed(model, weights)
        if not left:
            return changed
        return changed.with_note(f"{self.name} leaves whole numbers as they are: {names(left)}")

    def _chosen(self, model: Model) -> tuple[tuple[Weight, ...], list[str]]:
        """The weights that it acts on, and the addresses of those that stay as they are."""
        found = super().matched(model)
        left = set()
        if self.only_floats and self.select.value == "**":
            left = {w.address for w in found if is_whole(w.tensor.dtype)}
        if len(left) == len(found) or any(is_quantised(model, address) for address in left):
            left = set()  # which `check` then refuses
        weights = tuple(weight for weight in found if weight.address not in left)
        self.check(model, weights)
        return weights, [weight.address for weight in found if weight.address in left]


def is_quantised(model: Model, address: str) -> bool:
    """Return whether a weight is quantised; an op on it would need its scale changed too."""
    owner = model.architecture.owner(address) if model.architecture else None
    is_marked = owner is not None and quantization_mode(owner.config) is not None
    return is_marked or f"{address}_scale" in model.by_address


OPS: Registry[type[Op]] = Registry("surgery.ops", "surgery.ops", Op, lambda declared: declared)


def op(declared: type[Op]) -> type[Op]:
    """Class decorator: make the op known to recipes."""
    declared.name = snake_case(declared.__name__)
    OPS.register(declared)
    return declared


def ops() -> Mapping[str, type[Op]]:
    """Return surgery's own ops by name, in alphabetical order."""
    return OPS.own()
