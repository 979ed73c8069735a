"""LevelDB's table: sorted keys and values in blocks, as TensorFlow's checkpoints have them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from surgery.errors import FormatError
from surgery.formats._proto import varint

_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48
_MOST_BLOCK = 1 << 28


def masked_crc32c(data: bytes | memoryview) -> int:
    """The CRC-32C of data as TensorFlow and LevelDB store it."""
    import google_crc32c

    crc = int(google_crc32c.value(bytes(data)))
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def is_table(tail: bytes) -> bool:
    """Whether a file that ends so is a table."""
    return len(tail) >= _FOOTER and tail[-8:] == struct.pack("<Q", _MAGIC)


class Table:
    """A table to read; raises FormatError where it is broken."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._data = path.read_bytes()
        if not is_table(self._data):
            raise FormatError(f"{path} does not end as a table of TensorFlow does")

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All keys with their values, in order."""
        footer = self._data[-_FOOTER:]
        try:
            _, place = self._handle(footer, 0)  # of the meta index, which nothing is in
            index, _ = self._handle(footer, place)
            for _, handle in self._entries(self._block(*index)):
                block, _ = self._handle(handle, 0)
                yield from self._entries(self._block(*block))
        except (ValueError, IndexError, struct.error) as error:
            raise FormatError(f"{self.path} is damaged: {error}") from None

    def _handle(self, data: bytes, place: int) -> tuple[tuple[int, int], int]:
        offset, place = varint(data, place)
        size, place = varint(data, place)
        return (offset, size), place

    def _block(self, offset: int, size: int) -> bytes:
        end = offset + size
        if end + 5 > len(self._data) - _FOOTER + 0 or size > _MOST_BLOCK:
            raise ValueError(f"a block at byte {offset} does not fit in the file")
        kind = self._data[end]
        (crc,) = struct.unpack("<I", self._data[end + 1 : end + 5])
        if masked_crc32c(self._data[offset : end + 1]) != crc:
            raise ValueError(f"the block at byte {offset} has another checksum than it says")
        block = self._data[offset:end]
        if kind == 0:
            return block
        if kind == 1:
            return unsnappied(block)
        raise ValueError(f"the block at byte {offset} is packed in an unknown way ({kind})")

    def _entries(self, block: bytes) -> Iterator[tuple[bytes, bytes]]:
        (restarts,) = struct.unpack("<I", block[-4:])
        end = len(block) - 4 - 4 * restarts
        if end < 0:
            raise ValueError("a block has more restarts than bytes")
        place, key = 0, b""
        while place < end:
            shared, place = varint(block, place)
            fresh, place = varint(block, place)
            size, place = varint(block, place)
            if shared > len(key) or place + fresh + size > end:
                raise ValueError("an entry does not fit in its block")
            key = key[:shared] + block[place : place + fresh]
            place += fresh
            yield key, block[place : place + size]
            place += size


def unsnappied(data: bytes) -> bytes:
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
