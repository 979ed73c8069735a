"""TensorFlow's tensor bundle: an index (a table) and the files with the tensors' bytes."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from surgery.errors import FormatError
from surgery.formats._proto import Message
from surgery.formats._sstable import Table
from surgery.weights.tensor import Array, Computed, Descriptor, Extent, Stored, Tensor, dtype_named

GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"

_DTYPES: Mapping[int, str] = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 8: "complex64",
    9: "int64", 10: "bool", 11: "int8", 12: "uint8", 13: "int32", 14: "bfloat16", 15: "int16",
    16: "uint16", 17: "uint16", 18: "complex128", 19: "float16", 22: "uint32", 23: "uint64",
    24: "float8_e5m2", 25: "float8_e4m3fn", 29: "int4", 30: "uint4",
}  # fmt: skip
_STRING = 7
_PRODUCED_FOR = 1
"""The version of bundles that this reads; TensorFlow has written no other since 2016."""

Slice = tuple[tuple[int, int], ...]
"""For each dimension the first index and how many; -1 where it is all of them."""


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies; `dtype` is None for strings, and a partitioned one has `slices`."""

    dtype: np.dtype[Any] | None
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int
    slices: tuple[Slice, ...] = ()


class Bundle:
    """A bundle to read lazily, by the path that its files' names begin with."""

    def __init__(self, prefix: str) -> None:
        """Raises FormatError for a broken index, or one of a kind that is not read."""
        self.prefix = prefix
        self.index = Path(f"{prefix}.index")
        self._raw = dict(Table(self.index).items())
        header = self._message(self._raw.pop(b"", b""))
        self.shards = header.integer(1)
        if header.integer(2):
            raise FormatError(f"{self.index} is big-endian, which is not read")
        if header.message(3).integer(2) > _PRODUCED_FOR:
            raise FormatError(f"{self.index} is of a version of TensorFlow's bundles to come")
        self._parts = {key: value for key, value in self._raw.items() if key[:1] == b"\0"}
        self.entries = {
            key.decode(errors="replace"): self._entry(value)
            for key, value in self._raw.items()
            if key not in self._parts
        }

    def _message(self, data: bytes) -> Message:
        try:
            return Message(data)
        except ValueError as error:
            raise FormatError(f"{self.index} is damaged: {error}") from None

    def _entry(self, data: bytes) -> Entry:
        try:
            return self._parsed(self._message(data))
        except ValueError as error:
            raise FormatError(f"{self.index} is damaged: {error}") from None

    def _parsed(self, message: Message) -> Entry:
        kind = message.integer(1)
        if kind != _STRING and kind not in _DTYPES:
            raise ValueError(f"dtype {kind} is not known")
        shape = tuple(size.signed(1) for size in message.message(2).messages(2))
        if any(size < 0 for size in shape):
            raise ValueError(f"a shape is {list(shape)}")
        return Entry(
            None if kind == _STRING else dtype_named(_DTYPES[kind]),
            shape,
            message.integer(3),
            message.signed(4),
            message.signed(5),
            message.integer(6),
            tuple(
                tuple((part.signed(1), part.signed(2, -1)) for part in one.messages(1))
                for one in message.messages(7)
            ),
        )

    def data_file(self, shard: int) -> Path:
        """The file of a shard."""
        return Path(f"{self.prefix}.data-{shard:05}-of-{self.shards:05}")

    @property
    def files(self) -> tuple[Path, ...]:
        """The index and all files with data."""
        return self.index, *(self.data_file(shard) for shard in range(self.shards))

    @cached_property
    def _descriptors(self) -> Mapping[int, Descriptor]:
        try:
            return {n: Descriptor.open(self.data_file(n)) for n in range(self.shards)}
        except OSError as error:
            raise FormatError(f"{error.filename}: {error.strerror}") from None

    def tensor(self, name: str) -> Tensor:
        """A tensor of numbers, lazily; one that was saved in parts is one tensor."""
        entry = self.entries[name]
        if not entry.slices:
            return self._stored(name, entry)
        if entry.dtype is None:
            raise FormatError(f"{self.index}: {name} is of strings, in parts")
        parts = []
        for one in entry.slices:
            key = _slice_key(name, one)
            if key not in self._parts:
                raise FormatError(f"{self.index} does not hold the part {list(one)} of {name}")
            parts.append((one, self._stored(f"{name} {list(one)}", self._entry(self._parts[key]))))
        return _joined(self.index, name, entry, parts)

    def _stored(self, name: str, entry: Entry) -> Stored:
        if entry.dtype is None or entry.size != math.prod(entry.shape) * entry.dtype.itemsize:
            raise FormatError(
                f"{self.index}: {name} has {entry.size} bytes, which is not its shape"
            )
        self._check_place(name, entry)
        extent = Extent(self.data_file(entry.shard), entry.offset)
        return Stored(entry.shape, entry.dtype, extent, self._descriptors[entry.shard])

    def _check_place(self, name: str, entry: Entry) -> None:
        if not 0 <= entry.shard < self.shards:
            raise FormatError(f"{self.index}: {name} lies in shard {entry.shard} of {self.shards}")
        end = os.fstat(self._descriptors[entry.shard]).st_size
        if entry.offset < 0 or entry.size < 0 or entry.offset + entry.size > end:
            raise FormatError(
                f"{self.data_file(entry.shard)} is cut short: {name} would end at byte "
                f"{entry.offset + entry.size}"
            )

    def raw(self, name: str) -> bytes:
        """The bytes of an entry that is not of numbers, as they are stored."""
        entry = self.entries[name]
        self._check_place(name, entry)
        return os.pread(self._descriptors[entry.shard], entry.size, entry.offset)


def _joined(index: Path, name: str, entry: Entry, parts: Sequence[tuple[Slice, Tensor]]) -> Tensor:
    """The tensor whose parts lie side by side along one axis."""
    assert entry.dtype is not None
    shape = entry.shape
    sizes = [[length if length >= 0 else n for (_, length), n in zip(one, shape, strict=False)]
             for one, _ in parts]  # fmt: skip
    cut = {d for size in sizes for d, (length, n) in enumerate(zip(size, shape, strict=False))
           if length != n}  # fmt: skip
    axis = min(cut, default=0)
    if (
        not shape
        or len(cut) > 1
        or any(list(tensor.shape) != size for (_, tensor), size in zip(parts, sizes, strict=True))
    ):
        raise FormatError(f"{index}: the parts of {name} do not lie side by side")
    ordered = sorted(parts, key=lambda part: part[0][axis][0])
    ends = [0]
    for one, tensor in ordered:
        if one[axis][0] != ends[-1]:
            raise FormatError(f"{index}: the parts of {name} leave a gap, or overlap")
        ends.append(ends[-1] + tensor.shape[axis])
    if ends[-1] != entry.shape[axis]:
        raise FormatError(f"{index}: the parts of {name} are not all of it")
    inner = math.prod(entry.shape[axis + 1 :])
    block = entry.shape[axis] * inner

    def read(start: int, stop: int) -> Array:
        return np.concatenate([*_runs(start, stop), np.empty(0, entry.dtype)])

    def _runs(start: int, stop: int) -> Iterator[Array]:
        while start < stop:
            outer, place = divmod(start, block)
            number = int(np.searchsorted(ends, place // inner, side="right")) - 1
            low, high = ends[number] * inner, ends[number + 1] * inner
            count = min(high - place, stop - start)
            first = outer * (high - low) + place - low
            yield ordered[number][1].read(first, first + count)
            start += count

    return Computed(entry.shape, entry.dtype, read)


def _slice_key(name: str, one: Slice) -> bytes:
    """The key of a part, in TensorFlow's ordered code."""
    text = name.encode().replace(b"\0", b"\0\xff").replace(b"\xff", b"\xff\0") + b"\0\x01"
    count = len(one)
    key = b"\0" + text + (bytes([1, count]) if count else b"\0")
    return key + b"".join(_signed(number) for extent in one for number in extent)


def _signed(number: int) -> bytes:
    """A number in the code whose bytes sort as numbers do: as many ones as it has bytes."""
    size = 1
    while not -(1 << (7 * size - 1)) <= number < 1 << (7 * size - 1):
        size += 1
    data = bytearray(number.to_bytes(size, "big", signed=True))
    head = ((1 << size) - 1) << (16 - size)
    for place, mask in enumerate(head.to_bytes(2, "big")[:size]):
        data[place] ^= mask
    return bytes(data)
