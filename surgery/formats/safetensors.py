"""`safetensors`: one file, or several with an index, the usual form of weights for PyTorch."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from surgery.architecture import Architecture
from surgery.declared.fields import key
from surgery.errors import FormatError
from surgery.formats import _outputs
from surgery.formats.base import Format, Output, register
from surgery.storage import disk
from surgery.storage.descriptors import Descriptor, FileRange, pread
from surgery.weights.model import Carried, Model
from surgery.weights.tensor import FileTensor, Tensor, dtype_named
from surgery.weights.weight import Weight

INDEX = "model.safetensors.index.json"
_MOST_HEADER = 100_000_000
"""The most bytes of a header, by the format's specification."""

_DTYPES: Mapping[str, str] = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16",
    "U32": "uint32", "I32": "int32", "U64": "uint64", "I64": "int64",
    "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "C64": "complex64",
}  # fmt: skip
_NAMES = {name: code for code, name in _DTYPES.items()}
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}


@register
@dataclass(frozen=True, kw_only=True)
class Safetensors(Format):
    """A safetensors file; with `shard` a folder of several and their index."""

    name = "safetensors"
    suffix = ".safetensors"

    shard: str | None = key(
        "The most bytes a file; the target becomes a folder of files with an index.",
        "5GB",
        default=None,
        pattern=r"^\d+(KB|MB|GB)$|^\$\{[^}]+\}$",
    )

    @property
    def is_folder(self) -> bool:  # type: ignore[override]
        """True with `shard`, as there are several files."""
        return self.shard is not None

    def sniff(self, path: Path, head: bytes) -> bool:
        if path.is_dir():
            return (path / INDEX).is_file()
        if path.name.endswith(".index.json"):
            return head.lstrip().startswith(b"{") and b"safetensors" in disk.beginning(path)
        size = int.from_bytes(head[:8], "little")
        return head[8:9] == b"{" and 2 <= size <= min(_MOST_HEADER, path.stat().st_size - 8)

    def owns(self, folder: Path) -> bool:
        names = {file.name for file in folder.iterdir()}
        return INDEX in names and all(
            name == INDEX or re.fullmatch(r"model-\d{5}-of-\d{5}\.safetensors", name)
            for name in names
        )

    def open(self, path: Path, architecture: Architecture | None = None) -> Model:
        files = [path]
        if path.is_dir() or path.name.endswith(".index.json"):
            files = list(_indexed(path / INDEX if path.is_dir() else path))
        weights: dict[str, Weight] = {}
        metadata: dict[str, str] = {}
        for file in files:
            own, found = _read(file)
            metadata = {**own, **metadata}
            for weight in found:
                if weight.address in weights:
                    raise FormatError(f"{file} has {weight.address}, which another file has, too")
                weights[weight.address] = weight
        return Model(
            weights=tuple(weights.values()),
            architecture=architecture,
            carried=Carried(metadata=metadata),
            format="safetensors",
            origin=str(path),
            inputs=tuple(dict.fromkeys([path, *files])),
        )

    def problems(self, model: Model) -> Sequence[str]:
        return [
            f"{weight.address} is {weight.tensor.dtype.name}, which safetensors cannot store"
            for weight in model.weights
            if weight.tensor.dtype.name not in _NAMES
        ][:1]

    def create(self, model: Model, path: Path) -> Output:
        if self.shard is None:
            return _create(path, model.weights, model.carried.metadata)
        count, unit = re.fullmatch(r"(\d+)(KB|MB|GB)", self.shard).groups()  # type: ignore[union-attr]
        shards = list(_shards(model.weights, int(count) * _UNITS[unit]))
        path.mkdir()
        names = [
            f"model-{number:05}-of-{len(shards):05}.safetensors"
            for number in range(1, len(shards) + 1)
        ]
        places = {w.address: n for n, shard in zip(names, shards, strict=True) for w in shard}
        index = {"metadata": {"total_size": model.nbytes}, "weight_map": places}
        (path / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
        return _outputs.together(
            [
                _create(path / name, shard, model.carried.metadata)
                for name, shard in zip(names, shards, strict=True)
            ],
            path,
        )


def _shards(weights: Sequence[Weight], most: int) -> Iterator[list[Weight]]:
    shard: list[Weight] = []
    size = 0
    for weight in weights:
        if shard and size + weight.tensor.nbytes > most:
            yield shard
            shard, size = [], 0
        shard.append(weight)
        size += weight.tensor.nbytes
    yield shard


def _create(path: Path, weights: Sequence[Weight], metadata: Mapping[str, str]) -> Output:
    """Write a file's header, and return its output; loaders check the format in `metadata`."""
    header: dict[str, Any] = {"__metadata__": dict(metadata) or {"format": "tf"}}
    offset = 0
    for weight in weights:
        end = offset + weight.tensor.nbytes
        header[weight.address] = {
            "dtype": _NAMES[weight.tensor.dtype.name],
            "shape": list(weight.tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    descriptor = disk.create(path)
    disk.write_at(descriptor, struct.pack("<Q", len(text)) + text, 0)
    start = 8 + len(text)
    os.ftruncate(descriptor, start + offset)
    places: list[tuple[int, Tensor]] = [
        (start + header[weight.address]["data_offsets"][0], weight.tensor) for weight in weights
    ]
    return _outputs.output(descriptor, places)


def _indexed(index: Path) -> Iterator[Path]:
    """Yield the files in an index, each once; raises FormatError."""
    try:
        places = json.loads(disk.small(index))["weight_map"]
        names = dict.fromkeys(places.values())
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"{index} is not an index of safetensors: {error!r}") from None
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise FormatError(f"{index}: {name!r} lies outside the folder")
        yield index.parent / name


def _read(path: Path) -> tuple[Mapping[str, str], Sequence[Weight]]:
    """Return a file's metadata and weights; raises FormatError."""
    descriptor = Descriptor.open(path)
    size = os.fstat(descriptor).st_size
    length = int.from_bytes(pread(descriptor, 8, 0), "little")
    if not 2 <= length <= min(_MOST_HEADER, size - 8):
        raise FormatError(f"{path}: its header of {length} bytes does not fit in it")
    try:
        header = json.loads(pread(descriptor, length, 8), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: its header is not readable JSON: {error}") from None
    if not isinstance(header, dict):
        raise FormatError(f"{path}: its header is not a JSON object")
    metadata = header.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise FormatError(f"{path}: its __metadata__ is not a mapping of names to texts")
    weights = []
    start, done = 8 + length, 0
    for name, entry in sorted(header.items(), key=lambda item: _begin(item[1])):
        shape, dtype, first, end = _checked(path, name, entry)
        if first != done or end - first != math.prod(shape) * dtype.itemsize:
            raise FormatError(f"{path}: the offsets of {name} in its header are wrong")
        if start + end > size:
            raise FormatError(f"{path} is truncated: {name} would end at byte {start + end}")
        done = end
        stored = FileTensor(shape, dtype, FileRange(path, start + first), descriptor)
        weights.append(Weight(name, stored, (name,)))
    if start + done != size:
        raise FormatError(f"{path} has {size - start - done} more bytes than its header lists")
    return metadata, weights


class _Entry(NamedTuple):
    """A tensor's entry in a header: a third of the memory that a dictionary takes."""

    dtype: Any
    shape: tuple[Any, ...]
    offsets: tuple[Any, ...]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Entry:
    """Make an object of the header; raises ValueError for a duplicate name."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice")
    if found.keys() == {"dtype", "shape", "data_offsets"}:
        with contextlib.suppress(TypeError):
            dtype, shape, offsets = (found[key] for key in ("dtype", "shape", "data_offsets"))
            return _Entry(sys.intern(dtype), tuple(shape), tuple(offsets))
    return found


def _begin(entry: Any) -> int:
    begin = entry.offsets[0] if isinstance(entry, _Entry) and entry.offsets else -1
    return begin if type(begin) is int else -1


def _checked(path: Path, name: str, entry: Any) -> tuple[tuple[int, ...], np.dtype[Any], int, int]:
    """Return an entry's (shape, dtype, first byte, end); raises FormatError if it is malformed."""
    if not isinstance(entry, _Entry) or len(entry.offsets) != 2 or entry.dtype not in _DTYPES:
        raise FormatError(f"{path}: the entry of {name} is broken")
    numbers = entry.shape + entry.offsets
    if not all(type(number) is int and 0 <= number < 1 << 62 for number in numbers):
        raise FormatError(f"{path}: the entry of {name} is broken")
    return entry.shape, dtype_named(_DTYPES[entry.dtype]), *entry.offsets
