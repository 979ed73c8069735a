"""Protocol buffers' wire format: fields by number, without a schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_DEEPEST = 100
"""The nesting limit of protocol buffers' own readers."""

Buffer = bytes | memoryview
Field = tuple[int, int, "int | bytes"]
"""A field's number, wire type and value."""


def varint(data: Buffer, place: int) -> tuple[int, int]:
    r"""Decode the varint at an offset; returns (value, offset after it).

    Raises ValueError if it is not terminated. `varint(b"\xac\x02", 0)` is (300, 2).
    """
    if place < len(data) and data[place] < 0x80:  # most have one byte
        return data[place], place + 1
    value = shift = 0
    while True:
        if place >= len(data) or shift > 63:
            raise ValueError("a varint is not terminated")
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7


class Located(NamedTuple):
    """A field's number and wire type, and the offsets of its tag, its value, and its end."""

    number: int
    kind: int
    tag: int
    start: int
    stop: int


def located(data: Buffer, start: int = 0, stop: int | None = None) -> Iterator[Located]:
    """Yield the positions of a message's fields; raises ValueError if it is malformed."""
    stop = len(data) if stop is None else stop
    place = start
    while place < stop:
        begin = place
        tag, place = varint(data, place)
        number, kind = tag >> 3, tag & 7
        if not number:
            raise ValueError("a field has the number 0")
        first = place
        if kind == _VARINT:
            _, place = varint(data, place)
        elif kind == _BYTES:
            size, first = varint(data, place)
            place = first + size
        elif kind in (_FIXED32, _FIXED64):
            place += 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind} is not known")
        if place > stop:
            raise ValueError("a field is longer than its message")
        yield Located(number, kind, begin, first, place)


def check_depth(data: Buffer) -> None:
    """Raise ValueError if messages are nested deeper than TensorFlow reads them.

    Without the schema, any bytes that parse as a message are taken for one. Fields too short to
    reach the limit are skipped.
    """
    waiting = [(0, len(data), 0)]
    while waiting:
        start, stop, depth = waiting.pop()
        if depth > _DEEPEST:
            raise ValueError(f"messages are nested more than {_DEEPEST} deep")
        shortest = 2 * (_DEEPEST - depth)
        try:
            inner = [f for f in located(data, start, stop) if f.kind == _BYTES]
        except ValueError:
            continue
        waiting += [(f.start, f.stop, depth + 1) for f in inner if f.stop - f.start >= shortest]


def fields(data: Buffer) -> list[Field]:
    """Parse the fields of a message, in order; raises ValueError if it is malformed."""
    found: list[Field] = []
    place, stop = 0, len(data)
    while place < stop:
        tag, place = varint(data, place)
        kind = tag & 7
        if kind == _VARINT:
            value, place = varint(data, place)
            found.append((tag >> 3, kind, value))
            continue
        if kind == _BYTES:
            size, place = varint(data, place)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind} is not known")
        if place + size > stop:
            raise ValueError("a field is longer than its message")
        part = bytes(data[place : place + size])
        place += size
        found.append((tag >> 3, kind, part if kind == _BYTES else int.from_bytes(part, "little")))
    return found


_ONE_BYTE = [bytes([value]) for value in range(0x80)]


def put_varint(value: int) -> bytes:
    """Encode an integer as a varint; a negative one as its 64-bit two's complement."""
    if 0 <= value < len(_ONE_BYTE):
        return _ONE_BYTE[value]
    value &= (1 << 64) - 1
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*data, value])


def put_integer(number: int, value: int) -> bytes:
    """Encode an integer field; empty for zero, as in protocol buffers 3."""
    return put_varint(number << 3 | _VARINT) + put_varint(value) if value else b""


def put_fixed32(number: int, value: int) -> bytes:
    """Encode a 32-bit field; empty for zero."""
    return put_varint(number << 3 | _FIXED32) + value.to_bytes(4, "little") if value else b""


def put_length(number: int, size: int) -> bytes:
    """Encode the tag and length that precede a string or message of `size` bytes."""
    return put_varint(number << 3 | _BYTES) + put_varint(size)


def put_bytes(number: int, value: bytes) -> bytes:
    """Encode a field with a string or message."""
    return put_length(number, len(value)) + value


class Message:
    """A parsed message, whose fields are accessed by number; raises ValueError if malformed."""

    def __init__(self, data: Buffer) -> None:
        self._fields = fields(data)

    def __contains__(self, number: int) -> bool:
        return any(n == number for n, _, _ in self._fields)

    def _last(self, number: int) -> int | bytes | None:
        found = None
        for n, _, value in self._fields:
            if n == number:
                found = value
        return found

    def _all(self, number: int) -> list[int | bytes]:
        return [value for n, _, value in self._fields if n == number]

    def integer(self, number: int, default: int = 0) -> int:
        """Return an integer field, the last one if it is repeated; raises ValueError for bytes."""
        value = self._last(number)
        if isinstance(value, bytes):
            raise ValueError(f"field {number} is not a number")
        return default if value is None else value

    def signed(self, number: int, default: int = 0) -> int:
        """Return a signed integer field (an int64)."""
        value = self.integer(number, default)
        return value - (1 << 64) if value >= 1 << 63 else value

    def integers(self, number: int) -> list[int]:
        """Return a repeated integer field, packed or not."""
        found: list[int] = []
        for value in self._all(number):
            if isinstance(value, int):
                found.append(value)
                continue
            place = 0
            while place < len(value):
                item, place = varint(value, place)
                found.append(item)
        return found

    def text(self, number: int, default: str = "") -> str:
        """Return a string field; raises ValueError for a number."""
        value = self._last(number)
        if isinstance(value, int):
            raise ValueError(f"field {number} is not text")
        return default if value is None else value.decode(errors="replace")

    def data(self, number: int) -> bytes:
        """Return a bytes field, empty if it is missing; raises ValueError for a number."""
        value = self._last(number)
        if isinstance(value, int):
            raise ValueError(f"field {number} is not a string of bytes")
        return value or b""

    def strings(self, number: int) -> list[bytes]:
        """Return a repeated bytes field."""
        return [value for value in self._all(number) if isinstance(value, bytes)]

    def messages(self, number: int) -> list[Message]:
        """Return a repeated message field."""
        return [Message(value) for value in self.strings(number)]

    def message(self, number: int) -> Message:
        """Return a message field; an empty message if it is missing."""
        found = self.strings(number)
        return Message(found[-1] if found else b"")
