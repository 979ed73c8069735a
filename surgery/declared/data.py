"""What every form of data is: declared in a recipe, checked from headers, read by rows."""

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
"""The numbers of examples, int64."""


@dataclass(frozen=True)
class Names:
    """Which columns go into a model, or are wanted from it: one, a list, or one for each name."""

    value: str | Sequence[str] | Mapping[str, str]

    @classmethod
    def from_recipe(cls, value: object, _folder: Path) -> Names:
        """Read a name, a list of names, or a name for each input or output."""
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
        """Return the names of the columns, in order."""
        if isinstance(self.value, str):
            return [self.value]
        return list(self.value.values() if isinstance(self.value, Mapping) else self.value)

    def packed(self, columns: Mapping[str, Any]) -> Any:
        """Return the columns' values in the form that Keras wants."""
        if isinstance(self.value, str):
            return columns[self.value]
        if isinstance(self.value, Mapping):
            return {name: columns[column] for name, column in self.value.items()}
        return tuple(columns[column] for column in self.value)


def used(x: Names, y: Names | None, weight: str | None = None) -> list[str]:
    """Return the columns that are read for x, y and sample weights, each once."""
    names = [*x.columns, *(y.columns if y else []), *([weight] if weight else [])]
    return list(dict.fromkeys(names))


@dataclass(frozen=True)
class Column:
    """One thing that every example has: its shape without the examples' axis, and its dtype."""

    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class Examples:
    """Data that is open: `gather` reads rows of the columns in use, in any order.

    `x`, `y` and `weight` say what the columns are to Keras. `labels` reads what every example is
    to come out as, where that is known without TensorFlow; examples `by_class` lie in a folder
    for each class. `files` are the examples' own files, where each has one.
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
        """Return the columns that are read."""
        return used(self.x, self.y, self.weight)

    def packed(self, columns: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return a batch as Keras wants it: x, y and sample weights, as far as there are any."""
        parts = [self.x.packed(columns)]
        if self.y is not None:
            parts.append(self.y.packed(columns))
        if self.weight is not None:
            parts.append(columns[self.weight])
        return tuple(parts)


class Data(ABC):
    """Examples to train on or to be measured on."""

    kind: ClassVar[str]
    """The key that tells it apart."""

    @abstractmethod
    def inputs(self) -> tuple[Path, ...]:
        """Return the files and folders that it reads."""

    @abstractmethod
    def open(self) -> Examples | Batches:
        """Return the examples, from headers; raises FormatError where there are none.

        What TensorFlow must decode is decoded when rows are gathered.
        """

    def without_labels(self) -> Data:
        """Return the same examples without y and sample weights, for a model's outputs alone."""
        return self

    @property
    def runs_code(self) -> bool:
        """Return whether reading it runs code of the user's."""
        return False

    def __str__(self) -> str:
        return ", ".join(path.name for path in self.inputs())


@dataclass(frozen=True)
class Batches:
    """Batches that Python code of the user's makes, an epoch at a time."""

    make: Callable[[int], Iterator[Any]]


DATA: Registry[type[Data]] = Registry(
    "surgery.data", "surgery.data", Data, lambda declared: declared, "kind"
)


def data(declared: type[Data]) -> type[Data]:
    """Make a form of data known to recipes; a class decorator."""
    DATA.register(declared)
    return declared


def kinds() -> Mapping[str, type[Data]]:
    """Return surgery's own forms of data, by the key that tells them apart."""
    return DATA.own()


def steps(count: int, batch_size: int) -> int:
    """Return how many batches so many examples make."""
    return math.ceil(count / batch_size)
