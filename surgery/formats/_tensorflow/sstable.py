"""LevelDB's SSTable: sorted keys and values in blocks, the index of TensorFlow's checkpoints."""

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
    """Return the masked CRC-32C of data, as TensorFlow and LevelDB store it."""
    return masked(CRC32C.extend(data, 0))


def masked(crc: int) -> int:
    """Mask a CRC for storage, so that the CRC of data that contain CRCs stays meaningful."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def is_table(tail: Buffer) -> bool:
    """Return whether a file with these last bytes is a table."""
    return len(tail) >= _FOOTER and tail[-8:] == struct.pack("<Q", _MAGIC)


class Table:
    """A table for reading; raises FormatError if it is damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._data: Buffer = contents(path)
        if not is_table(self._data[-_FOOTER:]):
            raise FormatError(
                f"{path} does not end like an index of TensorFlow; it may be truncated"
            )

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield all keys with their values, in order."""
        return ((key, bytes(value)) for key, value, _ in self.places())

    def places(self) -> Iterator[tuple[bytes, Buffer, int | None]]:
        """Yield (key, value, offset of the value in the file or None in compressed blocks).

        Raises FormatError for a damaged file.
        """
        footer = self._data[-_FOOTER:]
        try:
            _, place = self._handle(footer, 0)  # the meta index, which is empty
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
        """Return (contents of a block, its offset in the file or None if compressed).

        Raises ValueError for a truncated or damaged block, or an unknown compression.
        """
        end = offset + size
        if end + 5 > len(self._data) - _FOOTER:
            raise ValueError(f"a block at byte {offset} does not fit in the file")
        kind = self._data[end]
        (crc,) = struct.unpack("<I", self._data[end + 1 : end + 5])
        if masked_crc32c(self._data[offset : end + 1]) != crc:
            raise ValueError(f"the block at byte {offset} does not match its checksum")
        block = self._data[offset:end]
        if kind == 0:
            return block, offset
        if kind == 1:
            return unsnappied(block), None
        raise ValueError(f"the block at byte {offset} is compressed by an unknown method ({kind})")

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
    """Decompress Snappy data; raises ValueError if they are malformed."""
    size, place = varint(data, 0)
    if size > _MOST_BLOCK:
        raise ValueError(f"a compressed block claims {size:,} bytes")
    out = bytearray()
    while place < len(data):
        tag = data[place]
        place += 1
        if tag & 3 == 0:  # a literal
            length = (tag >> 2) + 1
            if length > 60:
                extra = length - 60
                length = int.from_bytes(data[place : place + extra], "little") + 1
                place += extra
            out += data[place : place + length]
            place += length
        else:  # a copy of earlier bytes
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
                raise ValueError("a compressed block refers to bytes before its start")
            start = len(out) - offset
            for number in range(length):
                out.append(out[start + number])
        if len(out) > size:
            raise ValueError("a compressed block is longer than its stated size")
    if len(out) != size:
        raise ValueError("a compressed block is shorter than its stated size")
    return bytes(out)


_BLOCK = 1 << 18
_RESTART = 16


def table_of(items: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Serialise sorted (key, value) items to a table, byte for byte as TensorFlow does."""
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
    """A block writer that omits the prefix a key shares with the one before.

    Every `restart`-th key is written in full.
    """

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
    """Return the length of the common prefix."""
    size = min(len(a), len(b))
    differing = int.from_bytes(a[:size], "big") ^ int.from_bytes(b[:size], "big")
    return size - (differing.bit_length() + 7) // 8


def _put_block(out: bytearray, block: _BlockWriter) -> bytes:
    """Append a block; returns its handle (offset and size)."""
    data = block.finished()
    handle = put_varint(len(out)) + put_varint(len(data))
    out += data + b"\0" + struct.pack("<I", masked_crc32c(data + b"\0"))
    return handle


def _separator(before: bytes, after: bytes) -> bytes:
    """Return a short key k with before <= k < after, for the index of blocks.

    `_separator(b"abc", b"axe")` is b"ac".
    """
    shared = _shared(before, after)
    if shared < len(before) and before[shared] < 0xFF and before[shared] + 1 < after[shared]:
        return before[:shared] + bytes([before[shared] + 1])
    return before


def _successor(key: bytes) -> bytes:
    """Return a short key that is at least `key`: its first byte below 0xff, plus one."""
    for place, byte in enumerate(key):
        if byte != 0xFF:
            return key[:place] + bytes([byte + 1])
    return key
