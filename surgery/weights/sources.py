"""Sources of models: the recipe's source, and the donors of steps."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from surgery.storage.states import FileState, file_states
from surgery.weights.model import Model


class Source(ABC):
    """Where the model comes from: a file, or a model of keras.applications."""

    kind: ClassVar[str]
    """The recipe key by which this kind of source is recognised."""

    @abstractmethod
    def open(self, seed: int) -> Model:
        """Open the model lazily."""

    def opened(self, seed: int) -> Model:
        """Return the model of an earlier call if its files have not changed, else open it.

        So its weights are hashed once.
        """
        seen = self._seen
        if seed in seen:
            states, model = seen[seed]
            with contextlib.suppress(OSError):
                if file_states(model.inputs) == states:
                    return model
        model = self.open(seed).hashed()
        seen[seed] = file_states(model.inputs), model
        return model

    @cached_property
    def _seen(self) -> dict[int, tuple[Mapping[Path, FileState], Model]]:
        return {}

    @property
    def is_view(self) -> bool:
        """True if it renames the file's weights, or takes only some of them."""
        return False

    @property
    def is_part(self) -> bool:
        """True if it takes only some of the file's weights, by a selector."""
        return False

    @property
    def is_made(self) -> bool:
        """True if Keras made the model: its weights were drawn, or loaded by Keras."""
        return False

    @property
    @abstractmethod
    def needs_tensorflow(self) -> bool:
        """True if opening it imports TensorFlow."""


@dataclass(frozen=True, eq=False)
class InMemory(Source):
    """A model that Python code has already opened."""

    model: Model

    def open(self, seed: int) -> Model:
        return self.model

    @property
    def needs_tensorflow(self) -> bool:
        return False


@dataclass(frozen=True, eq=False)
class Donor:
    """A second model that a step takes weights from; opened on first use."""

    source: Source
    seed: int

    @cached_property
    def model(self) -> Model:
        """The donor's model, whose weights are hashed while they are read."""
        return self.source.opened(self.seed).hashed()


BEFORE = {"step": "before"}
"""The value of `from` that makes the model before the step the donor."""


@dataclass(frozen=True, eq=False)
class OwnDonor:
    """A donor, or None for the model itself as it was before the step."""

    donor: Donor | None

    def of(self, model: Model) -> Model:
        """Return the donor's model, where `model` is the one before the step."""
        return model if self.donor is None else self.donor.model

    def donors(self) -> tuple[Donor, ...]:
        """Return the donor, if it is another model."""
        return () if self.donor is None else (self.donor,)


@dataclass(frozen=True, eq=False)
class Operand:
    """An operand of an expression: the address of a weight of the model, or a donor."""

    address: str | None = None
    donor: OwnDonor = OwnDonor(None)

    @property
    def is_selected(self) -> bool:
        """Whether the donor has only the weights of a selector."""
        return self.donor.donor is not None and self.donor.donor.source.is_part

    def of(self, model: Model) -> Model:
        """Return the donor's model, where `model` is the one before the step."""
        return self.donor.of(model)

    def donors(self) -> tuple[Donor, ...]:
        """Return the donor, if it is another model."""
        return () if self.address is not None else self.donor.donors()
