"""The base classes of ops: frozen dataclasses of their keys, that map a model to a model."""

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
    """An op; its name in a recipe is its class's name in snake case."""

    name: ClassVar[str]
    changes_weights: ClassVar[bool] = True
    """False for an op that changes only the architecture, or nothing."""

    changes_table: ClassVar[bool] = False
    """Whether weights may get other names, be added or be left out, in weights-only files too."""

    needs_keras3: ClassVar[bool] = False
    """Whether it acts on a config of Keras 3; an older one is upgraded before the step."""

    array_key: ClassVar[str] = ""
    """The key for which Python code may pass an array; it goes into the field `values`."""

    draws: Randomness = field(default=Randomness(), kw_only=True, compare=False)
    """The source of its random numbers; not a key."""

    @property
    def needs_live(self) -> bool:
        """True if carrying it out needs a live Keras model."""
        return False

    @property
    def needs_values(self) -> bool:
        """True if the shapes after it depend on values of weights; a plan predicts them."""
        return False

    @property
    def title(self) -> str:
        """The title of a step that has no name."""
        return self.name

    @property
    def selector_key(self) -> str:
        """The key that a SelectorError is about; empty for the whole step."""
        return "select" if hasattr(self, "select") else ""

    @abstractmethod
    def apply(self, model: Model) -> Model:
        """Return the changed model, lazily: no tensor is computed yet."""

    def resolved(self, model: Model) -> Op:
        """Return the op with what depends on values of weights, which are read for it."""
        return self

    def matched(self, model: Model) -> tuple[Weight, ...]:
        """Return the weights that the step acts on."""
        return ()

    def changes(self, weights: Sequence[Weight]) -> int | None:
        """Return an upper bound of how many elements change; None if unknown before reading."""
        return sum(weight.tensor.size for weight in weights)

    def renames(self, model: Model) -> Mapping[str, str]:
        """Return {old name: new name} of renamed layers, or of a donor's weights."""
        return {}

    def inputs(self) -> tuple[Path, ...]:
        """Return the files that the step reads, without those of its donors."""
        return ()

    def donors(self) -> tuple[Donor, ...]:
        """Return the models that the step takes weights from."""
        return ()


@dataclass(frozen=True, kw_only=True)
class WeightOp(Op):
    """An op on selected weights."""

    select: Select = key(
        "The weights to change: a pattern over addresses, a list of patterns, or a mapping of "
        "facts.",
        "block1_conv1/kernel",
    )
    allow_empty: bool = key(
        "Let the step do nothing if the selector matches nothing.", True, default=False
    )

    @property
    def title(self) -> str:
        return f"{self.name} {self.select}"

    def matched(self, model: Model) -> tuple[Weight, ...]:
        return self.select.weights(model, self.allow_empty)


@dataclass(frozen=True, kw_only=True)
class FloatOp(WeightOp):
    """An op that computes with floats.

    If `**` selects integers (counters, flags), they are left unchanged, with a note.
    """

    @property
    def only_floats(self) -> bool:
        """True if the op refuses integer weights."""
        return True

    @abstractmethod
    def changed(self, model: Model, weights: Sequence[Weight]) -> Model:
        """Return the model with those weights changed."""

    def apply_to(self, model: Model, weights: Sequence[Weight]) -> Model:
        """Return the model with those weights changed; a subclass may change only parts."""
        return self.changed(model, weights)

    def check(self, model: Model, weights: Sequence[Weight]) -> None:
        """Raise SelectorError if a weight has a dtype that the op does not support."""
        if self.only_floats:
            need_floats(weights, self.name)

    def matched(self, model: Model) -> tuple[Weight, ...]:
        return self._chosen(model)[0]

    def apply(self, model: Model) -> Model:
        weights, left = self._chosen(model)
        changed = self.apply_to(model, weights)
        if not left:
            return changed
        return changed.with_note(f"{self.name} leaves integers unchanged: {names(left)}")

    def _chosen(self, model: Model) -> tuple[tuple[Weight, ...], list[str]]:
        """Return (weights to act on, addresses of those left unchanged)."""
        found = super().matched(model)
        left = set()
        if self.only_floats and self.select.value == "**":
            left = {w.address for w in found if is_whole(w.tensor.dtype)}
        if len(left) == len(found) or any(is_quantised(model, address) for address in left):
            left = set()  # then `check` refuses them
        weights = tuple(weight for weight in found if weight.address not in left)
        self.check(model, weights)
        return weights, [weight.address for weight in found if weight.address in left]


def is_quantised(model: Model, address: str) -> bool:
    """Return whether a weight is quantised, so that a change would need its scale changed, too."""
    owner = model.architecture.owner(address) if model.architecture else None
    is_marked = owner is not None and quantization_mode(owner.config) is not None
    return is_marked or f"{address}_scale" in model.by_address


OPS: Registry[type[Op]] = Registry("surgery.ops", "surgery.ops", Op, lambda declared: declared)


def op(declared: type[Op]) -> type[Op]:
    """Register an op for recipes; a class decorator."""
    declared.name = snake_case(declared.__name__)
    OPS.register(declared)
    return declared


def ops() -> Mapping[str, type[Op]]:
    """Return surgery's own ops by name, in alphabetical order."""
    return OPS.own()
