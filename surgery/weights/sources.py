"""Where models come from: what is loaded, and the donors of steps."""

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
    """The key that tells it apart."""

    @abstractmethod
    def open(self, seed: int) -> Model:
        """The model, opened lazily."""

    def opened(self, seed: int) -> Model:
        """The model as it was opened before, where its files have not changed since.

        What has been hashed is not hashed again.
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
        """Whether it renames the file's weights, or takes only some of them."""
        return False

    @property
    def is_made(self) -> bool:
        """Whether Keras made the model: the weights were drawn, or loaded by Keras."""
        return False

    @property
    @abstractmethod
    def needs_tensorflow(self) -> bool:
        """Whether opening it imports TensorFlow."""


@dataclass(frozen=True, eq=False)
class InMemory(Source):
    """A model that Python code has opened already."""

    model: Model

    def open(self, seed: int) -> Model:
        return self.model

    @property
    def needs_tensorflow(self) -> bool:
        return False


@dataclass(frozen=True, eq=False)
class Donor:
    """A second model, which a step takes weights from; opened when it is first needed."""

    source: Source
    seed: int

    @cached_property
    def model(self) -> Model:
        """Return the model, whose weights are hashed while they are read."""
        return self.source.opened(self.seed).hashed()
