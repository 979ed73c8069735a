"""Writing of a tensor bundle: data files in place, from many threads, and then the index."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from surgery.formats import _outputs
from surgery.formats._tensorflow.bundle import CODES, GRAPH, STRING, Bundle, Entry
from surgery.formats._tensorflow.fields import BundleEntry, BundleHeader, TensorShape, Version
from surgery.formats._tensorflow.objects_writer import without_values
from surgery.formats._tensorflow.parts import Parts
from surgery.formats._tensorflow.proto import put_bytes, put_fixed32, put_integer, put_varint
from surgery.formats._tensorflow.sstable import masked, masked_crc32c, table_of
from surgery.formats.base import Output, Sink
from surgery.storage import disk
from surgery.storage.checksums import CRC32C, Pieces
from surgery.storage.descriptors import FileRange
from surgery.weights.tensor import Array, Tensor, constant, dtype_name, raw_bytes

HEADER = put_integer(BundleHeader.NUM_SHARDS, 1) + put_bytes(
    BundleHeader.VERSION, put_integer(Version.PRODUCER, 1)
)
"""The header of a bundle with one data file."""


@dataclass
class Item:
    """An entry of the new index.

    `place` is the sort key for its position in the shard; `crc` is known for bytes that are copied;
    the main entry of a tensor in parts has `slices` and no bytes.
    """

    code: int
    shape: tuple[int, ...]
    size: int
    shard: int = 0
    place: int = 0
    crc: int | None = None
    slices: bytes = b""
    offset: int = field(default=0, init=False)

    def encoded(self) -> bytes:
        """Return the entry's serialised BundleEntryProto."""
        return (
            put_integer(BundleEntry.DTYPE, self.code)
            + _put_shape(self.shape)
            + put_integer(BundleEntry.SHARD_ID, self.shard)
            + put_integer(BundleEntry.OFFSET, self.offset)
            + put_integer(BundleEntry.SIZE, self.size)
            + put_fixed32(BundleEntry.CRC32C, self.crc or 0)
            + self.slices
        )


@lru_cache
def _put_shape(shape: tuple[int, ...]) -> bytes:
    sizes = (put_integer(TensorShape.DIM_SIZE, size) for size in shape)
    return put_bytes(
        BundleEntry.SHAPE, b"".join(put_bytes(TensorShape.DIM, size) for size in sizes)
    )


class BundleWriter:
    """A writer of a bundle; `prefix` is the common prefix of its files' paths."""

    def __init__(self, prefix: str, header: bytes = HEADER, shards: int = 1) -> None:
        self._prefix, self._header, self._shards = prefix, header, shards
        self.items: dict[bytes, Item] = {}
        self._tensors: list[tuple[Tensor, bytes, Parts | None]] = []

    def add(
        self, key: bytes, item: Item, tensor: Tensor | None, parts: Parts | None = None
    ) -> None:
        """Add an entry, and the tensor that fills it (or, for a main entry, its parts)."""
        self.items[key] = item
        if tensor is not None:
            self._tensors.append((tensor, key, parts))

    def add_text(self, key: str, text: bytes, shard: int = 0, place: int = 0) -> None:
        """Add a string."""
        length = put_varint(len(text))
        check = struct.pack("<I", masked_crc32c(struct.pack("<I", len(text))))
        data = length + check + text
        crc = masked_crc32c(struct.pack("<I", len(text)) + check + text)
        item = Item(STRING, (), len(data), shard, place, crc)
        self.add(key.encode(), item, constant(np.frombuffer(data, np.uint8)))

    def output(self) -> Output:
        """Lay out and create the files."""
        ends = [0] * self._shards
        for item in sorted(self.items.values(), key=lambda item: (item.shard, item.place)):
            if not item.slices:
                item.offset = ends[item.shard]
                ends[item.shard] += item.size
        descriptors = []
        for shard, end in enumerate(ends):
            path = Path(f"{self._prefix}.data-{shard:05}-of-{self._shards:05}")
            descriptors.append(disk.create(path))
            os.ftruncate(descriptors[-1], end)
        pieces = [Pieces(descriptor, CRC32C) for descriptor in descriptors]
        tensors: list[tuple[Tensor, Sink]] = []
        for tensor, key, parts in self._tensors:
            keys = [key] if parts is None else parts.keys
            sinks = [
                _outputs.sink_at(
                    descriptors[item.shard],
                    item.offset,
                    tensor.dtype.itemsize,
                    pieces[item.shard].seen if item.crc is None else None,
                )
                for item in (self.items[key] for key in keys)
            ]
            tensors.append((tensor, sinks[0] if parts is None else _to_parts(parts, sinks)))

        def finish() -> None:
            self._sum(pieces)
            index = {b"": self._header, **{k: i.encoded() for k, i in self.items.items()}}
            path = Path(f"{self._prefix}.index")
            path.write_bytes(table_of(sorted(index.items())))
            for descriptor in descriptors:
                disk.to_disk(descriptor)
            disk.sync(path)

        def close() -> None:
            for descriptor in descriptors:
                os.close(descriptor)

        return Output(tensors, finish, close)

    def _sum(self, pieces: Sequence[Pieces]) -> None:
        """Set the checksums of all entries that have been written."""
        for shard, written in enumerate(pieces):
            items = [
                item
                for item in self.items.values()
                if item.shard == shard and item.crc is None and not item.slices
            ]
            items.sort(key=lambda item: item.offset)
            crcs = written.crcs([(item.offset, item.offset + item.size) for item in items])
            for item, crc in zip(items, crcs, strict=True):
                item.crc = masked(crc)


def _to_parts(parts: Parts, sinks: Sequence[Sink]) -> Sink:
    """Make a sink for a whole tensor from the sinks of its parts."""

    def write(start: int, values: Array) -> None:
        done = 0
        for part, first, count in parts.runs(start, start + values.size):
            sinks[part](first, values[done : done + count])
            done += count

    return write


def rewritten(
    bundle: Bundle,
    prefix: str,
    changed: Mapping[str, Tensor],
    left_out: Set[str] = frozenset(),
) -> BundleWriter:
    """Make a writer of a bundle with `changed` tensors, by key; the rest is copied.

    A tensor in parts must keep its shape and dtype. Entries in `left_out` are also removed from the
    object graph.
    """
    writer = BundleWriter(prefix, bundle.header, bundle.shards)
    for name in bundle.entries:
        if name in left_out:
            continue
        if name == GRAPH and left_out:
            graph = without_values(bundle.text(GRAPH), left_out)
            entry = bundle.entries[name]
            writer.add_text(GRAPH, graph, entry.shard, entry.offset)
            continue
        key, tensor, parts = name.encode(), changed.get(name), bundle.parts(name)
        if tensor is not None and parts is None:
            item = _item(bundle.entry(key))
            if tensor.dtype != bundle.entry(key).dtype:
                item.code = CODES[dtype_name(tensor.dtype)]
            item.shape, item.size = tensor.shape, tensor.nbytes
            writer.add(key, item, tensor)
            continue
        writer.add(key, _item(bundle.entry(key)), tensor, parts)
        for stored in parts.keys if parts else [key]:
            entry = bundle.entry(stored)
            if tensor is not None:
                writer.add(stored, _item(entry), None)
            else:
                file_range = FileRange(bundle.data_file(entry.shard), entry.offset)
                descriptor = bundle.descriptor(entry.shard)
                copied = raw_bytes(file_range, entry.size, descriptor)
                writer.add(stored, _item(entry, entry.crc), copied)
    return writer


def _item(entry: Entry, crc: int | None = None) -> Item:
    return Item(
        entry.code, entry.shape, entry.size, entry.shard, entry.offset, crc, entry.sliced
    )  # fmt: skip


def new_bundle(
    prefix: str, tensors: Mapping[str, Tensor], texts: Mapping[str, bytes]
) -> BundleWriter:
    """Make a writer of a bundle of tensors in that order, followed by strings."""
    writer = BundleWriter(prefix)
    for place, (key, tensor) in enumerate(tensors.items()):
        code = CODES[dtype_name(tensor.dtype)]
        item = Item(code, tensor.shape, tensor.nbytes, place=place)
        writer.add(key.encode(), item, tensor)
    for key, text in texts.items():
        writer.add_text(key, text, place=len(tensors))
    return writer
