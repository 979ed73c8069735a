"""`csv`: small weights as a table of numbers, one element a row."""

from __future__ import annotations

import csv
import io
import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surgery.architecture import Architecture
from surgery.errors import FormatError
from surgery.formats import _outputs
from surgery.formats.base import Format, Output, Sink, odd_names, register
from surgery.storage import disk
from surgery.weights.model import Carried, Model
from surgery.weights.tensor import Array, constant, dtype_named
from surgery.weights.weight import Weight

_HEADER = ("address", "dtype", "shape", "index", "value")
_MOST_ELEMENTS = 1_000_000


@register
@dataclass(frozen=True, kw_only=True)
class Csv(Format):
    """A table with a row for every element, for small weights."""

    name = "csv"
    suffix = ".csv"

    def sniff(self, path: Path, head: bytes) -> bool:
        return not path.is_dir() and head.startswith(b"address,dtype,")

    def open(self, path: Path, architecture: Architecture | None = None) -> Model:
        if path.stat().st_size > 200 * _MOST_ELEMENTS:
            raise FormatError(f"{path} is larger than a table of {_MOST_ELEMENTS:,} elements")
        text = path.read_bytes().decode()
        rows = list(csv.reader(io.StringIO(text, newline="")))
        if tuple(rows[0]) != _HEADER:
            raise FormatError(f"{path}:1: the columns are not {', '.join(_HEADER)}")
        weights = tuple(_weights(path, rows[:-1]))
        if not text.endswith("\n") or tuple(rows[-1]) != _end(
            sum(weight.tensor.size for weight in weights)
        ):
            raise FormatError(f"{path} is truncated: its last row is not the number of elements")
        return Model(
            weights=weights,
            architecture=architecture,
            carried=Carried(),
            format="csv",
            origin=str(path),
            inputs=(path,),
        )

    def problems(self, model: Model) -> Sequence[str]:
        if model.parameters > _MOST_ELEMENTS:
            return [
                f"it is for small weights, at most {_MOST_ELEMENTS:,} elements, and these are "
                f"{model.parameters:,}; write npy or hdf5"
            ]
        complex_ones = [w for w in model.weights if w.tensor.dtype.kind == "c"]
        return odd_names(model) + [
            f"{weight.address} is {weight.tensor.dtype.name}, which a table cannot store exactly"
            for weight in complex_ones[:1]
        ]

    def create(self, model: Model, path: Path) -> Output:
        descriptor = disk.create(path)
        held: dict[str, Array] = {}
        lock = threading.Lock()

        def sink(weight: Weight) -> Sink:
            held[weight.address] = np.empty(weight.tensor.size, weight.tensor.dtype)

            def take(start: int, values: Array) -> None:
                with lock:
                    held[weight.address][start : start + values.size] = values

            return take

        sinks = [(weight.tensor, sink(weight)) for weight in model.weights]
        output = _outputs.output(descriptor, [])

        def finish() -> None:
            text = io.StringIO()
            table = csv.writer(text, lineterminator="\n")
            table.writerow(_HEADER)
            for weight in model.weights:
                table.writerows(_rows(weight, held[weight.address]))
            table.writerow(_end(model.parameters))
            disk.write_at(descriptor, text.getvalue().encode(), 0)
            output.finish()

        return Output(sinks, finish, output.close)


def _end(elements: int) -> tuple[str, ...]:
    """Return the last row, which shows that a file is complete."""
    return ("", "elements", str(elements), "", "")


def _rows(weight: Weight, values: Array) -> Iterator[tuple[str, ...]]:
    shape = weight.tensor.shape
    first = (weight.address, weight.tensor.dtype.name, "x".join(map(str, shape)) or "scalar")
    if not values.size:
        yield (*first, "", "")
    for index, value in zip(np.ndindex(*shape), values, strict=True):
        yield (*first, " ".join(map(str, index)), str(value))


def _weights(path: Path, rows: Sequence[Sequence[str]]) -> Iterator[Weight]:
    """Yield the weights in order; a weight's rows are consecutive, in C order.

    Raises FormatError.
    """
    line = 1
    seen: set[str] = set()
    while line < len(rows):
        try:
            address, name, form, _, _ = rows[line]
            dtype = dtype_named(name)
            shape = () if form == "scalar" else tuple(int(size) for size in form.split("x"))
            size = math.prod(shape)
            if address in seen or not address or size > len(rows) or any(s < 0 for s in shape):
                raise ValueError
            part = rows[line : line + max(size, 1)]
            values = _values(part, dtype, size, (address, name, form), shape)
        except (ValueError, TypeError, AttributeError, OverflowError):
            raise FormatError(
                f"{path}:{line + 1}: the rows of a weight are incomplete, or not in order"
            ) from None
        seen.add(address)
        yield Weight(address, constant(values.reshape(shape)), (address,))
        line += max(size, 1)


def _values(
    rows: Sequence[Sequence[str]],
    dtype: np.dtype[Any],
    size: int,
    first: tuple[str, ...],
    shape: tuple[int, ...],
) -> Array:
    if any(tuple(row[:3]) != first or len(row) != len(_HEADER) for row in rows):
        raise ValueError
    if not size:
        return np.empty(0, dtype)
    if len(rows) != size:
        raise ValueError
    for row, index in zip(rows, np.ndindex(*shape), strict=True):
        if row[3] != " ".join(map(str, index)):
            raise ValueError
    texts = [row[4] for row in rows]
    if dtype.kind == "b":
        return np.array([{"True": True, "False": False}.get(text) for text in texts], bool)
    if dtype.kind in "iu":
        return np.array([int(text) for text in texts], dtype)
    return np.array([float(text) for text in texts]).astype(dtype)
