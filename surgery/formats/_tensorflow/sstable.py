"""LevelDB's table: sorted keys and values in blocks, as TensorFlow's checkpoints have them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

from surgery.errors import FormatError
from surgery.formats._tensorflow.proto import Buffer, put_varint, varint
from surgery.storage.checksums import CRC32C
from surgery.storage.disk import contents

_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48
_MOST_BLOCK = 1 << 28


def masked_crc32c(data: bytes | memoryview) -> int:
    """The CRC-32C of data as TensorFlow and LevelDB store it."""
    return masked(CRC32C.extend(data, 0))


def masked(crc: int) -> int:
    """A CRC as it is stored, so that one of data with CRCs in it is none of its own parts."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def is_table(tail: Buffer) -> bool:
    """Whether a file that ends so is a table."""
    return len(tail) >= _FOOTER and tail[-8:] == struct.pack("<Q", _MAGIC)


class Table:
    """A table to read; raises FormatError where it is broken."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._data: Buffer = contents(path)
        if not is_table(self._data[-_FOOTER:]):
            raise FormatError(f"{path} does not end as a table of TensorFlow does")

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All keys with their values, in order."""
        return ((key, bytes(value)) for key, value, _ in self.places())

    def places(self) -> Iterator[tuple[bytes, Buffer, int | None]]:
        """All keys with their values, and where in the file those are; None for packed ones."""
        footer = self._data[-_FOOTER:]
        try:
            _, place = self._handle(footer, 0)  # of the meta index, which nothing is in
            index, _ = self._handle(footer, place)
            for _, handle, _ in self._entries(*self._block(*index)):
                block, _ = self._handle(handle, 0)
                yield from self._entries(*self._block(*block))
        except (ValueError, IndexError, struct.error) as error:
            raise FormatError(f"{self.path} is damaged: {error}") from None

    def _handle(self, data: Buffer, place: int) -> tuple[tuple[int, int], int]:
        offset, place = varint(data, place)
        size, place = varint(data, place)
        return (offset, size), place

    def _block(self, offset: int, size: int) -> tuple[Buffer, int | None]:
        """A block, and where in the file it stands as it is."""
        end = offset + size
        if end + 5 > len(self._data) - _FOOTER:
            raise ValueError(f"a block at byte {offset} does not fit in the file")
        kind = self._data[end]
        (crc,) = struct.unpack("<I", self._data[end + 1 : end + 5])
        if masked_crc32c(self._data[offset : end + 1]) != crc:
            raise ValueError(f"the block at byte {offset} has another checksum than it says")
        block = self._data[offset:end]
        if kind == 0:
            return block, offset
        if kind == 1:
            return unsnappied(block), None
        raise ValueError(f"the block at byte {offset} is packed in an unknown way ({kind})")

    def _entries(
        self, block: Buffer, offset: int | None
    ) -> Iterator[tuple[bytes, Buffer, int | None]]:
        (restarts,) = struct.unpack("<I", block[-4:])
        end = len(block) - 4 - 4 * restarts
        if end < 0:
            raise ValueError("a block has more restarts than bytes")
        place, key = 0, b""
        while place < end:
            shared, fresh, size = block[place : place + 3]
            if shared | fresh | size < 0x80:
                place += 3
            else:
                shared, place = varint(block, place)
                fresh, place = varint(block, place)
                size, place = varint(block, place)
            if shared > len(key) or place + fresh + size > end:
                raise ValueError("an entry does not fit in its block")
            key = key[:shared] + bytes(block[place : place + fresh])
            place += fresh
            yield key, block[place : place + size], None if offset is None else offset + place
            place += size


def unsnappied(data: Buffer) -> bytes:
    """What Snappy packed; raises ValueError where it is broken."""
    size, place = varint(data, 0)
    if size > _MOST_BLOCK:
        raise ValueError(f"a packed block claims {size:,} bytes")
    out = bytearray()
    while place < len(data):
        tag = data[place]
        place += 1
        if tag & 3 == 0:  # bytes as they are
            length = (tag >> 2) + 1
            if length > 60:
                extra = length - 60
                length = int.from_bytes(data[place : place + extra], "little") + 1
                place += extra
            out += data[place : place + length]
            place += length
        else:  # bytes that have been before
            if tag & 3 == 1:
                length, offset = (tag >> 2 & 7) + 4, tag >> 5 << 8 | data[place]
                place += 1
            else:
                width = 2 if tag & 3 == 2 else 4
                length, offset = (
                    (tag >> 2) + 1,
                    int.from_bytes(data[place : place + width], "little"),
                )
                place += width
            if not 0 < offset <= len(out):
                raise ValueError("a packed block refers to what is not there")
            start = len(out) - offset
            for number in range(length):
                out.append(out[start + number])
        if len(out) > size:
            raise ValueError("a packed block is longer than it says")
    if len(out) != size:
        raise ValueError("a packed block is shorter than it says")
    return bytes(out)


_BLOCK = 1 << 18
_RESTART = 16


def table_of(items: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A table of those items, whose keys are in order; packed as TensorFlow packs its own."""
    out = bytearray()
    index = _BlockWriter(restart=1)
    block, last = _BlockWriter(), b""
    for key, value in items:
        if block.size >= _BLOCK:
            index.add(_separator(last, key), _put_block(out, block))
            block = _BlockWriter()
        block.add(key, value)
        last = key
    if block.size:
        index.add(_successor(last), _put_block(out, block))
    meta = _put_block(out, _BlockWriter())
    handles = meta + _put_block(out, index)
    return bytes(out) + handles.ljust(_FOOTER - 8, b"\0") + struct.pack("<Q", _MAGIC)


class _BlockWriter:
    """Entries whose keys leave out what they share with the one before, but for every 16th."""

    def __init__(self, restart: int = _RESTART) -> None:
        self._restart, self._count, self._last = restart, 0, b""
        self._data = bytearray()
        self._restarts = [0]

    @property
    def size(self) -> int:
        return len(self._data)

    def add(self, key: bytes, value: bytes) -> None:
        shared = 0
        if self._count == self._restart:
            self._restarts.append(len(self._data))
            self._count = 0
        elif self._data:
            shared = _shared(self._last, key)
        self._data += put_varint(shared) + put_varint(len(key) - shared) + put_varint(len(value))
        self._data += key[shared:] + value
        self._count += 1
        self._last = key

    def finished(self) -> bytes:
        numbers = [*self._restarts, len(self._restarts)]
        return bytes(self._data) + struct.pack(f"<{len(numbers)}I", *numbers)


def _shared(a: bytes, b: bytes) -> int:
    """How many bytes both begin with."""
    size = min(len(a), len(b))
    differing = int.from_bytes(a[:size], "big") ^ int.from_bytes(b[:size], "big")
    return size - (differing.bit_length() + 7) // 8


def _put_block(out: bytearray, block: _BlockWriter) -> bytes:
    """Append a block; returns its handle."""
    data = block.finished()
    handle = put_varint(len(out)) + put_varint(len(data))
    out += data + b"\0" + struct.pack("<I", masked_crc32c(data + b"\0"))
    return handle


def _separator(before: bytes, after: bytes) -> bytes:
    """A short key that is not before the one and before the other."""
    shared = _shared(before, after)
    if shared < len(before) and before[shared] < 0xFF and before[shared] + 1 < after[shared]:
        return before[:shared] + bytes([before[shared] + 1])
    return before


def _successor(key: bytes) -> bytes:
    """A short key that is not before that one."""
    for place, byte in enumerate(key):
        if byte != 0xFF:
            return key[:place] + bytes([byte + 1])
    return key
