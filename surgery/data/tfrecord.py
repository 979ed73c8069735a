"""TFRecord files of `tf.train.Example`."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from surgery.declared.data import Column, Data, Examples, Names, Rows, data, used
from surgery.declared.fields import key
from surgery.errors import FormatError
from surgery.live.decoding import decode_image, parse_examples
from surgery.storage.descriptors import pread
from surgery.weights.tensor import Array

_HEADER, _FOOTER = 12, 4  # the length with its checksum, and the checksum of the record


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One feature of every example."""

    shape: tuple[int, ...] = key("Its shape.", [28, 28, 1], default=())
    dtype: Literal["float32", "int64", "string", "image", "uint8"] = key(
        "The kind of contents: numbers, a string, an encoded image, or raw bytes (uint8).",
        "float32",
        default="float32",
    )

    @property
    def column(self) -> Column:
        """The column that Keras gets."""
        kinds = {"image": np.uint8, "string": object}
        return Column(self.shape, np.dtype(kinds.get(self.dtype, self.dtype)))


@data
@dataclass(frozen=True, kw_only=True)
class TfRecord(Data):
    """Uncompressed TFRecord files of `tf.train.Example`."""

    kind = "tfrecord"

    tfrecord: tuple[Path, ...] = key("The files, in order.", ["train-0.tfrecord"])
    features: Mapping[str, Feature] = key(
        "The features to read, by name.",
        {"image": {"dtype": "image", "shape": [28, 28, 1]}, "label": {"dtype": "int64"}},
    )
    x: Names = key(
        "The feature, or features, of the inputs.", "image", default=Names("x"), in_example=True
    )
    y: Names | None = key(
        "The feature, or features, of the labels.", "label", default=Names("y"), in_example=True
    )

    def __post_init__(self) -> None:
        for name in used(self.x, self.y):
            if name not in self.features:
                raise ValueError(f"features does not describe {name!r}")

    def inputs(self) -> tuple[Path, ...]:
        return self.tfrecord

    def without_labels(self) -> Data:
        wanted = {name: self.features[name] for name in self.x.columns}
        return replace(self, features=wanted, y=None)

    def open(self) -> Examples:
        places = [place for path in self.tfrecord for place in _records(path)]
        if not places:
            raise FormatError(f"{self.tfrecord[0]} holds no record")

        def gather(rows: Rows) -> Mapping[str, Array]:
            return self._parsed(_read([places[row] for row in rows]))

        columns = {name: feature.column for name, feature in self.features.items()}
        return Examples(len(places), columns, gather, self.x, self.y)

    def _parsed(self, records: list[bytes]) -> Mapping[str, Array]:
        encoded = ("string", "image", "uint8")
        wanted = {
            name: ((), "string") if f.dtype in encoded else (f.shape, f.dtype)
            for name, f in self.features.items()
        }
        parsed = parse_examples(records, wanted, str(self.tfrecord[0]))
        return {name: self._values(self.features[name], v) for name, v in parsed.items()}

    def _values(self, feature: Feature, values: Array) -> Array:
        if feature.dtype == "image":
            channels = feature.shape[-1] if len(feature.shape) == 3 else 0
            name = f"an image in {self.tfrecord[0]}"
            return np.asarray([decode_image(value, name, channels) for value in values])
        if feature.dtype == "uint8":
            return np.asarray([np.frombuffer(v, np.uint8).reshape(feature.shape) for v in values])
        return values


def _records(path: Path) -> list[tuple[Path, int, int]]:
    """Return (path, offset, size) of each record of a file, from the lengths alone.

    Raises FormatError if the file is not a TFRecord file, or truncated.
    """
    found, offset = [], 0
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            while offset < size:
                header = pread(file.fileno(), 8, offset)
                length = struct.unpack("<Q", header)[0] if len(header) == 8 else size
                end = offset + _HEADER + length + _FOOTER
                if end > size:
                    raise FormatError(f"{path} is not a TFRecord file, or truncated, or compressed")
                found.append((path, offset + _HEADER, length))
                offset = end
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror}") from None
    return found


def _read(places: Sequence[tuple[Path, int, int]]) -> list[bytes]:
    """Return the records at those (path, offset, size), opening each file once."""
    records = [b""] * len(places)
    by_file: dict[Path, list[int]] = {}
    for number, (path, _, _) in enumerate(places):
        by_file.setdefault(path, []).append(number)
    for path, numbers in by_file.items():
        with path.open("rb") as file:
            for number in numbers:
                _, offset, length = places[number]
                records[number] = pread(file.fileno(), length, offset)
    return records
