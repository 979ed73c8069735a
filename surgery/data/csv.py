"""CSV tables with one line for every example."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from surgery.declared.data import Column, Data, Examples, Names, Rows, data
from surgery.declared.fields import key
from surgery.errors import FormatError, did_you_mean
from surgery.weights.tensor import Array

_BLOCK = 1 << 24


@data
@dataclass(frozen=True, kw_only=True)
class Csv(Data):
    """A .csv file of numbers, whose first line names the columns."""

    kind = "csv"

    csv: Path = key("A .csv file; its first line names the columns.", "iris.csv")
    target: str | None = key("The column of labels.", "species", default=None, in_example=True)
    columns: tuple[str, ...] | None = key(
        "The columns of inputs, as one vector; by default all but the target.",
        ["petal_length", "petal_width"],
        default=None,
    )
    classes: tuple[str, ...] | None = key(
        "The words in the target's column, in the order of their class indices 0, 1, ...",
        ["setosa", "versicolor", "virginica"],
        default=None,
    )

    is_labelled: bool = True

    def without_labels(self) -> Data:
        return replace(self, is_labelled=False)

    def inputs(self) -> tuple[Path, ...]:
        return (self.csv,)

    def open(self) -> Examples:
        lines = _line_places(self.csv)
        with self.csv.open("rb") as file:
            header = _cells(file, lines, 0)
        if double := [name for name in header if header.count(name) > 1]:
            raise FormatError(f"{self.csv} has two columns {double[0]!r}")
        features = list(self.columns or [name for name in header if name != self.target])
        label = self.target if self.is_labelled else None
        for name in [*features, *([label] if label else [])]:
            if name not in header:
                hint = did_you_mean(name, header)
                raise FormatError(f"{self.csv} has no column {name!r}{hint}")
        places = [header.index(name) for name in features]
        target = header.index(label) if label else None

        def gather(rows: Rows) -> Mapping[str, Array]:
            with self.csv.open("rb") as file:
                table = [_cells(file, lines, row + 1, len(header)) for row in rows]
            x = np.array(
                [[self._number(line[p], row) for p in places]
                 for line, row in zip(table, rows, strict=True)],
                np.float32,
            )  # fmt: skip
            if target is None:
                return {"x": x}
            y = [self._label(line[target], row) for line, row in zip(table, rows, strict=True)]
            return {"x": x, "y": np.array(y, np.int64 if self.classes else np.float32)}

        columns = {"x": Column((len(features),), np.dtype(np.float32))}
        if target is not None:
            columns["y"] = Column((), np.dtype(np.int64 if self.classes else np.float32))
        if target is None:
            return Examples(len(lines) - 1, columns, gather, Names("x"))
        labels = partial(self._labels, target, len(lines) - 1)
        return Examples(len(lines) - 1, columns, gather, Names("x"), Names("y"), labels=labels)

    def _labels(self, place: int, count: int) -> Array:
        """Return the target of every example: class names, or else numbers.

        Raises FormatError if quotes contain a line break.
        """
        with self.csv.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            cells = (line[place : place + 1] for line in csv.reader(file) if line)
            next(cells)  # the header
            read = (self._label("".join(cell), row) for row, cell in enumerate(cells))
            numbers = np.fromiter(read, np.int64 if self.classes else np.float64)
        if len(numbers) != count:
            raise FormatError(
                f"{self.csv} has {count} lines below its header, but {len(numbers)} rows; write "
                "each example on a line of its own, without a line break in quotes"
            )
        return np.array(self.classes)[numbers] if self.classes else numbers

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


def _line_places(path: Path) -> Array:
    """Return the first and last byte offset [start, end) of each non-empty line, header first.

    Raises FormatError if there is only a header.
    """
    ends, done = [0], 0
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                found = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n"))
                ends += (found + done + 1).tolist()
                done += len(block)
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror}") from None
    if ends[-1] != done:
        ends.append(done)
    places = np.stack([np.array(ends[:-1], np.int64), np.array(ends[1:], np.int64)], axis=1)
    if len(places):
        first = np.memmap(path, np.uint8, "r")[places[:, 0]]
        places = places[(first != ord("\n")) & (first != ord("\r"))]
    if len(places) < 2:
        raise FormatError(f"{path} has no line below its header")
    return places


def _cells(file: BinaryIO, lines: Array, number: int, width: int | None = None) -> list[str]:
    """Return the cells of a line; the header is number 0.

    Raises FormatError if there are not `width` cells.
    """
    begin, end = (int(place) for place in lines[number])
    file.seek(begin)
    cells = next(csv.reader([_text(file.read(end - begin), file.name, number + 1)]), [])
    if width is not None and len(cells) != width:
        raise FormatError(
            f"{file.name}:{number + 1} has {len(cells)} columns, and its header has {width}"
        )
    return cells


def _text(line: bytes, path: str, number: int) -> str:
    """Decode a line; raises FormatError if it is not UTF-8."""
    try:
        return line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise FormatError(f"{path}:{number} is not UTF-8 text") from None
