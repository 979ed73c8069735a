"""Where models come from: what is loaded, and the donors of steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

from surgery.weights.model import Model


class Source(ABC):
    """Where the model comes from: a file, or a model of keras.applications."""

    @abstractmethod
    def open(self, seed: int) -> Model:
        """The model, opened lazily."""

    @property
    @abstractmethod
    def needs_tensorflow(self) -> bool:
        """Whether opening it imports TensorFlow."""


@dataclass(frozen=True, eq=False)
class Donor:
    """A second model, which a step takes weights from; opened when it is first needed."""

    source: Source
    seed: int

    @cached_property
    def model(self) -> Model:
        """The model, whose weights are summed while they are read."""
        return self.source.open(self.seed).watched()
