"""Protocol buffers' wire format: fields by number, without their schema."""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

Field = tuple[int, int, "int | bytes"]
"""A field's number, its wire type, and its value."""


def varint(data: bytes, place: int) -> tuple[int, int]:
    """The number at a place, and the place behind it; raises ValueError where it has no end."""
    value = shift = 0
    while True:
        if place >= len(data) or shift > 63:
            raise ValueError("a number has no end")
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7


def fields(data: bytes) -> Iterator[Field]:
    """The fields of a message in order; raises ValueError for broken ones."""
    place = 0
    while place < len(data):
        tag, place = varint(data, place)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, place = varint(data, place)
            yield number, kind, value
            continue
        if kind == _BYTES:
            size, place = varint(data, place)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind} is not known")
        if place + size > len(data):
            raise ValueError("a field is longer than its message")
        part = data[place : place + size]
        yield number, kind, part if kind == _BYTES else int.from_bytes(part, "little")
        place += size


class Message:
    """A message's fields, by number."""

    def __init__(self, data: bytes) -> None:
        self._fields: dict[int, list[int | bytes]] = {}
        for number, _, value in fields(data):
            self._fields.setdefault(number, []).append(value)

    def __contains__(self, number: int) -> bool:
        return number in self._fields

    def integer(self, number: int, default: int = 0) -> int:
        """A number, the last one where there are several."""
        value = self._fields.get(number, [default])[-1]
        if not isinstance(value, int):
            raise ValueError(f"field {number} is not a number")
        return value

    def signed(self, number: int, default: int = 0) -> int:
        """A number that may be negative (an int64)."""
        value = self.integer(number, default)
        return value - (1 << 64) if value >= 1 << 63 else value

    def integers(self, number: int) -> list[int]:
        """A repeated number, packed or not."""
        found: list[int] = []
        for value in self._fields.get(number, []):
            if isinstance(value, int):
                found.append(value)
                continue
            place = 0
            while place < len(value):
                item, place = varint(value, place)
                found.append(item)
        return found

    def text(self, number: int, default: str = "") -> str:
        """A string."""
        value = self._fields.get(number, [default.encode()])[-1]
        if not isinstance(value, bytes):
            raise ValueError(f"field {number} is not text")
        return value.decode(errors="replace")

    def data(self, number: int) -> bytes:
        """A string of bytes."""
        value = self._fields.get(number, [b""])[-1]
        if not isinstance(value, bytes):
            raise ValueError(f"field {number} is not a string of bytes")
        return value

    def messages(self, number: int) -> list[Message]:
        """A repeated message."""
        found = self._fields.get(number, [])
        return [Message(value) for value in found if isinstance(value, bytes)]

    def message(self, number: int) -> Message:
        """A message; an empty one where it is missing."""
        found = self.messages(number)
        return found[-1] if found else Message(b"")
