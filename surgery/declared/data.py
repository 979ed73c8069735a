"""The base classes of data: declared in a recipe, checked from file headers, read by rows."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from surgery.declared.registry import Registry
from surgery.weights.tensor import Array

Rows = Array
"""The indices of examples, int64."""


@dataclass(frozen=True)
class Names:
    """The columns that are a model's inputs, labels or weights: one, a list, or a mapping."""

    value: str | Sequence[str] | Mapping[str, str]

    @classmethod
    def from_recipe(cls, value: object, _folder: Path) -> Names:
        """Read a name, a list of names, or a name for each input or output; raises TypeError."""
        inner = list(value.values()) if isinstance(value, Mapping) else value
        inner = [inner] if isinstance(inner, str) else inner
        if not isinstance(inner, list) or not inner or not all(isinstance(n, str) for n in inner):
            raise TypeError
        return cls(value)  # type: ignore[arg-type]

    @classmethod
    def schema(cls) -> Mapping[str, object]:
        """Return its JSON Schema."""
        return {"type": ["string", "array", "object"], "items": {"type": "string"}, "minLength": 1}

    @property
    def columns(self) -> list[str]:
        """The names of the columns, in order."""
        if isinstance(self.value, str):
            return [self.value]
        return list(self.value.values() if isinstance(self.value, Mapping) else self.value)

    def packed(self, columns: Mapping[str, Any]) -> Any:
        """Return the columns' values in Keras's form: an array, a tuple, or a dict by name."""
        if isinstance(self.value, str):
            return columns[self.value]
        if isinstance(self.value, Mapping):
            return {name: columns[column] for name, column in self.value.items()}
        return tuple(columns[column] for column in self.value)


def used(x: Names, y: Names | None, weight: str | None = None) -> list[str]:
    """Return the columns to read for x, y and sample weights, without duplicates."""
    names = [*x.columns, *(y.columns if y else []), *([weight] if weight else [])]
    return list(dict.fromkeys(names))


@dataclass(frozen=True)
class Column:
    """The shape of a column, without the axis of examples, and its dtype."""

    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class Examples:
    """Open data; `gather(rows)` reads rows of the columns, in any order.

    `x`, `y` and `weight` name the columns for Keras's arguments. `labels()` returns the label of
    every example, if known without TensorFlow; `by_class` means a folder for each class. `files`
    are the examples' own files, if each has one.
    """

    count: int
    columns: Mapping[str, Column]
    gather: Callable[[Rows], Mapping[str, Array]]
    x: Names
    y: Names | None = None
    weight: str | None = None
    labels: Callable[[], Array] | None = None
    by_class: bool = False
    files: Sequence[str] = ()

    @property
    def used(self) -> list[str]:
        """The columns that are read."""
        return used(self.x, self.y, self.weight)

    def packed(self, columns: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return a batch as Keras wants it: (x,), (x, y) or (x, y, sample weights)."""
        parts = [self.x.packed(columns)]
        if self.y is not None:
            parts.append(self.y.packed(columns))
        if self.weight is not None:
            parts.append(columns[self.weight])
        return tuple(parts)


class Data(ABC):
    """Examples for training or evaluation."""

    kind: ClassVar[str]
    """The recipe key by which this kind of data is recognised."""

    @abstractmethod
    def inputs(self) -> tuple[Path, ...]:
        """Return the files and folders that it reads."""

    @abstractmethod
    def open(self) -> Examples | Batches:
        """Open the examples, reading headers only; raises FormatError if they are unusable.

        Encoded images and records are decoded when rows are gathered.
        """

    def without_labels(self) -> Data:
        """Return the same examples without y and sample weights."""
        return self

    @property
    def runs_code(self) -> bool:
        """True if reading it runs the user's Python code."""
        return False

    def __str__(self) -> str:
        return ", ".join(path.name for path in self.inputs())


@dataclass(frozen=True)
class Batches:
    """Batches made by the user's Python code; `make(epoch)` iterates over those of an epoch."""

    make: Callable[[int], Iterator[Any]]


DATA: Registry[type[Data]] = Registry(
    "surgery.data", "surgery.data", Data, lambda declared: declared, "kind"
)


def data(declared: type[Data]) -> type[Data]:
    """Register a kind of data for recipes; a class decorator."""
    DATA.register(declared)
    return declared


def kinds() -> Mapping[str, type[Data]]:
    """Return surgery's own kinds of data, by recipe key."""
    return DATA.own()


def steps(count: int, batch_size: int) -> int:
    """Return the number of batches of `count` examples."""
    return math.ceil(count / batch_size)
