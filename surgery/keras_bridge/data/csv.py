"""A table with a line for every example."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from surgery.declaration import key
from surgery.errors import FormatError, did_you_mean
from surgery.keras_bridge.data._base import Column, Data, Examples, Names, Rows, data
from surgery.weights.tensor import Array

_BLOCK = 1 << 24


@data
@dataclass(frozen=True, kw_only=True)
class Csv(Data):
    """A .csv file whose first line names the columns, which are numbers."""

    kind = "csv"

    csv: Path = key("A .csv file; its first line names the columns.", "iris.csv")
    target: str | None = key("The column that is to come out.", "species", default=None)
    columns: tuple[str, ...] | None = key(
        "The columns that go in, as one row of numbers; all others without it.",
        ["petal_length", "petal_width"],
        default=None,
    )
    classes: tuple[str, ...] | None = key(
        "What the target's words are called, in the order of their numbers 0, 1, ...",
        ["setosa", "versicolor", "virginica"],
        default=None,
    )

    def inputs(self) -> tuple[Path, ...]:
        return (self.csv,)

    def open(self) -> Examples:
        starts = _line_starts(self.csv)
        with self.csv.open("rb") as file:
            header = next(csv.reader([_text(file.read(int(starts[1])), self.csv, 1)]), [])
        features = list(self.columns or [name for name in header if name != self.target])
        for name in [*features, *([self.target] if self.target else [])]:
            if name not in header:
                hint = did_you_mean(name, header)
                raise FormatError(f"{self.csv} has no column {name!r}{hint}")
        places = [header.index(name) for name in features]
        target = header.index(self.target) if self.target else None

        def gather(rows: Rows) -> Mapping[str, Array]:
            lines = _lines(self.csv, starts, rows, len(header))
            x = np.array(
                [[self._number(line[p], row) for p in places]
                 for line, row in zip(lines, rows, strict=True)],
                np.float32,
            )  # fmt: skip
            if target is None:
                return {"x": x}
            y = [self._label(line[target], row) for line, row in zip(lines, rows, strict=True)]
            return {"x": x, "y": np.array(y, np.int64 if self.classes else np.float32)}

        columns = {"x": Column((len(features),), np.dtype(np.float32))}
        if target is not None:
            columns["y"] = Column((), np.dtype(np.int64 if self.classes else np.float32))
        y = None if target is None else Names("y")
        return Examples(len(starts) - 2, columns, gather, Names("x"), y)

    def _number(self, text: str, row: int) -> float:
        try:
            return float(text)
        except ValueError:
            raise FormatError(
                f"{self.csv}:{row + 2}: {text!r} is not a number; leave its column out with "
                "columns, or give classes for a target of words"
            ) from None

    def _label(self, text: str, row: int) -> float:
        if self.classes is None:
            return self._number(text, row)
        if text not in self.classes:
            hint = did_you_mean(text, self.classes)
            raise FormatError(f"{self.csv}:{row + 2}: {text!r} is not among classes{hint}")
        return self.classes.index(text)


def _line_starts(path: Path) -> Array:
    """Where each line that is not empty begins, the header's first, and where the last ends."""
    starts, done = [0], 0
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n"))
                starts += (ends + done + 1).tolist()
                done += len(block)
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror}") from None
    if starts[-1] != done:
        starts.append(done)
    if len(starts) < 3:
        raise FormatError(f"{path} has no line below its header")
    return np.array(starts, np.int64)


def _lines(path: Path, starts: Array, rows: Rows, width: int) -> Sequence[list[str]]:
    found = []
    with path.open("rb") as file:
        for row in rows:
            file.seek(starts[row + 1])
            text = _text(file.read(int(starts[row + 2] - starts[row + 1])), path, row + 2)
            cells = next(csv.reader([text]), [])
            if len(cells) != width:
                raise FormatError(
                    f"{path}:{row + 2} has {len(cells)} columns, and its header has {width}"
                )
            found.append(cells)
    return found


def _text(line: bytes, path: Path, number: int) -> str:
    try:
        return line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise FormatError(f"{path}:{number} is not UTF-8 text") from None
