"""TensorFlow's tensor bundle: an index (an SSTable) and data files with the tensors' bytes."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from surgery.errors import FormatError
from surgery.formats._tensorflow.fields import (
    BundleEntry,
    BundleHeader,
    TensorShape,
    TensorSlice,
    Version,
)
from surgery.formats._tensorflow.messages import parse
from surgery.formats._tensorflow.objects import CheckpointNode, read_graph
from surgery.formats._tensorflow.parts import Parts, Shape, Slice, joined
from surgery.formats._tensorflow.proto import Message, put_bytes, varint
from surgery.formats._tensorflow.sstable import Table, masked
from surgery.storage.checksums import CRC32C, Pieces
from surgery.storage.descriptors import Descriptor, FileRange, pread
from surgery.weights.tensor import FileTensor, Tensor, dtype_named

GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"

DTYPES: Mapping[int, str] = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 8: "complex64",
    9: "int64", 10: "bool", 11: "int8", 12: "uint8", 13: "int32", 14: "bfloat16", 15: "int16",
    16: "uint16", 17: "uint16", 18: "complex128", 19: "float16", 22: "uint32", 23: "uint64",
    24: "float8_e5m2", 25: "float8_e4m3fn", 29: "int4", 30: "uint4",
}  # fmt: skip
CODES: Mapping[str, int] = {name: code for code, name in sorted(DTYPES.items(), reverse=True)}
"""TensorFlow's code of each dtype; the plain one, if a quantised one has the same name."""


STRING = 7
_OPAQUE = (STRING, 20, 21)
"""Strings, resources and variants, which are copied as bytes."""

_PRODUCED_FOR = 1
"""The bundle version that is read; TensorFlow has written no other since 2016."""


class Entry(NamedTuple):
    """An entry of the index; `dtype` is None for strings and the like.

    `code` is TensorFlow's code of the dtype; a tensor saved in parts has `slices`, and `sliced` is
    their serialised form.
    """

    code: int
    dtype: np.dtype[Any] | None
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int
    slices: tuple[Slice, ...] = ()
    sliced: bytes = b""


class Bundle:
    """A bundle for lazy reading; `prefix` is the common prefix of its files' paths."""

    def __init__(self, prefix: str) -> None:
        """Read the index; raises FormatError if it is damaged or of an unsupported kind."""
        self.prefix = prefix
        self.index = Path(f"{prefix}.index")
        self._places: dict[str, Entry] = {}
        self._pieces: dict[int, Pieces] = {}
        self._raw = dict(Table(self.index).items())
        self.header = self._raw.pop(b"", b"")
        header = self._message(self.header)
        self.shards = header.integer(BundleHeader.NUM_SHARDS)
        if header.integer(BundleHeader.ENDIANNESS):
            raise FormatError(f"{self.index} is big-endian, which is not read")
        if header.message(BundleHeader.VERSION).integer(Version.MIN_CONSUMER) > _PRODUCED_FOR:
            raise FormatError(
                f"{self.index} needs a newer version of TensorFlow's bundles than is read"
            )
        self.entries = self._named()

    def _named(self) -> Mapping[str, Entry]:
        """All entries by name, but for those of parts."""
        items = self._raw.items()
        try:
            return {key.decode(): _parsed(value) for key, value in items if key[:1] != b"\0"}
        except UnicodeDecodeError as error:
            name = bytes(error.object)
            raise FormatError(f"{self.index}: the name {name!r} is not UTF-8") from None
        except ValueError as error:
            raise FormatError(f"{self.index} is damaged: {error}") from None

    def _message(self, data: bytes) -> Message:
        try:
            return Message(data)
        except ValueError as error:
            raise FormatError(f"{self.index} is damaged: {error}") from None

    def entry(self, key: bytes) -> Entry:
        """Return the entry of a key, which may be the key of a part."""
        return self._entry(self._raw[key]) if key[:1] == b"\0" else self.entries[key.decode()]

    def _entry(self, data: bytes) -> Entry:
        try:
            return _parsed(data)
        except ValueError as error:
            raise FormatError(f"{self.index} is damaged: {error}") from None

    def place(self, name: str) -> tuple[int, int]:
        """Return (shard, offset) of the first byte of a tensor."""
        parts = self.parts(name)
        entry = self.entries[name] if parts is None else self.entry(parts.keys[0])
        return entry.shard, entry.offset

    def data_file(self, shard: int) -> Path:
        """Return the path of a shard."""
        return Path(f"{self.prefix}.data-{shard:05}-of-{self.shards:05}")

    @cached_property
    def _files(self) -> Sequence[Path]:
        return [self.data_file(shard) for shard in range(self.shards)]

    @cached_property
    def _ends(self) -> Sequence[int]:
        return [os.fstat(self._descriptors[shard]).st_size for shard in range(self.shards)]

    @property
    def files(self) -> tuple[Path, ...]:
        """The index and all data files."""
        return self.index, *(self.data_file(shard) for shard in range(self.shards))

    @cached_property
    def _descriptors(self) -> Mapping[int, Descriptor]:
        try:
            return {n: Descriptor.open(self.data_file(n)) for n in range(self.shards)}
        except OSError as error:
            raise FormatError(f"{error.filename}: {error.strerror}") from None

    @property
    def has_numbers(self) -> bool:
        """True if any tensor in it is numeric."""
        return any(entry.dtype is not None for entry in self.entries.values())

    def parts(self, name: str) -> Parts | None:
        """Return how a tensor saved in parts is joined; None for one in one piece.

        Raises FormatError if parts are missing or do not fit.
        """
        entry = self.entries[name]
        if not entry.slices:
            return None
        for one in entry.slices:
            if _slice_key(name, one) not in self._raw:
                raise FormatError(f"{self.index} has no part {list(one)} of {name}")
        try:
            return Parts(entry.shape, [(_slice_key(name, one), one) for one in entry.slices])
        except ValueError as error:
            raise FormatError(f"{self.index}: the parts of {name} {error}") from None

    def descriptor(self, shard: int) -> Descriptor:
        """Return the open descriptor of a shard."""
        return self._descriptors[shard]

    def tensor(self, name: str) -> Tensor:
        """Return a numeric tensor, lazily; parts are joined. Raises FormatError."""
        entry = self.entries[name]
        parts = self.parts(name)
        if parts is None:
            return self._stored(name, entry)
        dtype = entry.dtype
        if dtype is None:
            raise FormatError(f"{self.index}: {name} is of strings, in parts")
        tensors = []
        for number, key in enumerate(parts.keys):
            part = self.entry(key)
            if part.shape != parts.shape_of(number):
                raise FormatError(
                    f"{self.index}: a part of {name} does not have the shape of its slice"
                )
            tensors.append(self._stored(f"{name}, part {number}", part))

        return joined(parts, entry.shape, dtype, tensors)

    def _stored(self, name: str, entry: Entry) -> FileTensor:
        if entry.dtype is None or entry.size != math.prod(entry.shape) * entry.dtype.itemsize:
            raise FormatError(
                f"{self.index}: {name} has {entry.size} bytes, which does not match its shape"
            )
        self._check_place(name, entry)
        self._places[name] = entry
        pieces = self._pieces.get(entry.shard)
        if pieces is None:
            pieces = self._pieces[entry.shard] = Pieces(self._descriptors[entry.shard], CRC32C)
        extent = FileRange(self._files[entry.shard], entry.offset)
        return FileTensor(
            entry.shape, entry.dtype, extent, self._descriptors[entry.shard], pieces.seen
        )

    def _check_place(self, name: str, entry: Entry) -> None:
        if not 0 <= entry.shard < self.shards:
            raise FormatError(f"{self.index}: {name} lies in shard {entry.shard} of {self.shards}")
        end = entry.offset + entry.size
        if entry.offset < 0 or entry.size < 0 or end > self._ends[entry.shard]:
            raise FormatError(
                f"{self.data_file(entry.shard)} is truncated: {name} would end at byte {end}"
            )

    def raw(self, name: str) -> bytes:
        """Return the stored bytes of an entry that is not numeric."""
        entry = self.entries[name]
        self._check_place(name, entry)
        return pread(self._descriptors[entry.shard], entry.size, entry.offset)

    def text(self, name: str) -> bytes:
        """Return the single string of an entry; raises ValueError.

        It is stored as its length, a checksum of that, and its bytes.
        """
        data = self.raw(name)
        length, place = varint(data, 0)
        if len(data) != place + 4 + length:
            raise ValueError(f"{name} is not a single string")
        return data[place + 4 :]

    @cached_property
    def graph(self) -> tuple[CheckpointNode, ...] | None:
        """The graph of the saved objects; None for a name-based checkpoint.

        Raises FormatError for a damaged graph.
        """
        if GRAPH not in self.entries:
            return None
        try:
            return read_graph(self.text(GRAPH))
        except (ValueError, IndexError) as error:
            raise FormatError(f"{self.index} is damaged: {error}") from None

    def check(self) -> None:
        """Raise FormatError if a tensor that was read entirely does not match its checksum."""
        for name, entry in self._places.items():
            crc = self._pieces[entry.shard].complete(entry.offset, entry.offset + entry.size)
            if crc is not None and entry.size and masked(crc) != entry.crc:
                raise FormatError(
                    f"{self.data_file(entry.shard)} is damaged: the checksum of {name} is not "
                    "that in the index"
                )


def _parsed(data: bytes) -> Entry:
    found = parse("Entry", data)
    code = found.code
    if code not in _OPAQUE and code not in DTYPES:
        raise ValueError(f"dtype {code} is unknown")
    place = found.shard, found.offset, found.size, found.crc
    entry = Entry(code, _dtype(code), _shape(found.shape), *place)
    if not found.slices:
        return entry
    sliced = b"".join(put_bytes(BundleEntry.SLICES, one) for one in found.slices)
    return entry._replace(slices=tuple(map(parsed_slice, found.slices)), sliced=sliced)


@cache
def _dtype(kind: int) -> np.dtype[Any] | None:
    return None if kind in _OPAQUE else dtype_named(DTYPES[kind])


@lru_cache
def _shape(data: bytes) -> Shape:
    dims = Message(data).messages(TensorShape.DIM)
    shape = tuple(dim.signed(TensorShape.DIM_SIZE) for dim in dims)
    if any(size < 0 for size in shape):
        raise ValueError(f"a shape is {list(shape)}")
    return shape


def parsed_slice(data: bytes) -> Slice:
    """Return (start, length) of a slice in each dimension; length -1 is the whole dimension."""
    extents = Message(data).messages(TensorSlice.EXTENT)
    return tuple((e.signed(TensorSlice.START), e.signed(TensorSlice.LENGTH, -1)) for e in extents)


def _slice_key(name: str, one: Slice) -> bytes:
    """Return the index key of a part, in TensorFlow's ordered code."""
    text = name.encode().replace(b"\0", b"\0\xff") + b"\0\x01"
    count = len(one)
    key = b"\0" + text + (bytes([1, count]) if count else b"\0")
    return key + b"".join(_signed(number) for extent in one for number in extent)


def _signed(number: int) -> bytes:
    """Encode an integer so that bytes sort as numbers do: a prefix of ones gives the byte count."""
    size = 1
    while not -(1 << (7 * size - 1)) <= number < 1 << (7 * size - 1):
        size += 1
    data = bytearray(number.to_bytes(size, "big", signed=True))
    head = ((1 << size) - 1) << (16 - size)
    for place, mask in enumerate(head.to_bytes(2, "big")[:size]):
        data[place] ^= mask
    return bytes(data)
