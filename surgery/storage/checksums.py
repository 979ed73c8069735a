"""CRCs of bytes that are seen in pieces, in any order: each piece is summed, then they are joined.

A CRC is a polynomial over GF(2); appending n bytes multiplies it by x^(8n) modulo the
generator. The method is that of zlib's `crc32_combine` (Mark Adler).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache, reduce
from typing import Any

import numpy as np
from zlib_ng import zlib_ng

from surgery.storage.descriptors import pread

_ONE = 1 << 31


class Crc:
    """A CRC of 32 bits: its generator, and what goes on with a sum over more bytes."""

    def __init__(self, generator: int, extend: Callable[[bytes | memoryview, int], int]) -> None:
        self.extend = extend
        self._generator = generator
        self._power = cache(self._found_power)
        self._shift_by = cache(self._found_shift)

    def join(self, first: int, second: int, length: int) -> int:
        """The CRC of a + b from those of a and of b, which is `length` bytes long."""
        return self._times(self._shift_by(length), first) ^ second if first else second

    def _times(self, a: int, b: int) -> int:
        """A x b modulo the generator; bit 31 is the coefficient of 1."""
        product = 0
        bit = _ONE
        while a:
            if a & bit:
                product ^= b
                a ^= bit
            bit >>= 1
            b = b >> 1 ^ (self._generator if b & 1 else 0)
        return product

    def _found_power(self, n: int) -> int:
        """x^(2^n) modulo the generator."""
        return _ONE >> 1 if n == 0 else self._times(self._power(n - 1), self._power(n - 1))

    def _found_shift(self, length: int) -> int:
        """x^(8 x length) modulo the generator."""
        exponents = (n + 3 for n in range(length.bit_length()) if length >> n & 1)
        return reduce(self._times, (self._power(n % 32) for n in exponents), _ONE)


def _extend_crc32c(data: bytes | memoryview, crc: int = 0) -> int:
    # It takes read-only buffers only; an array over the same bytes is one, without a copy.
    return int(_crc32c()(crc, np.frombuffer(data, np.uint8))) if len(data) else crc


@cache
def _crc32c() -> Callable[[int, Any], int]:
    import google_crc32c

    extend: Callable[[int, Any], int] = google_crc32c.extend
    return extend


CRC32 = Crc(0xEDB88320, zlib_ng.crc32)
CRC32C = Crc(0x82F63B78, _extend_crc32c)


class Pieces:
    """The CRC of what is read or written in any order, chunk by chunk."""

    def __init__(self, descriptor: int, kind: Crc) -> None:
        self._descriptor, self._kind = descriptor, kind
        self._lock = threading.Lock()
        self._pieces: dict[int, tuple[int, int]] = {}

    def seen(self, offset: int, data: memoryview) -> None:
        """Note a chunk that stands at that offset; twice is once."""
        if offset in self._pieces or not len(data):
            return
        piece = len(data), self._kind.extend(data, 0)
        with self._lock:
            self._pieces[offset] = piece

    @property
    def done(self) -> int:
        """Bytes that have been noted."""
        return sum(length for length, _ in self._pieces.values())

    def crcs(self, ranges: Sequence[tuple[int, int]]) -> Iterator[int]:
        """The CRC of each range of bytes; the ranges are in order, and no chunk is in two."""
        pieces = sorted(self._pieces.items())
        number = 0
        for start, end in ranges:
            crc, done = 0, start
            while number < len(pieces) and pieces[number][0] < start:
                number += 1
            while number < len(pieces) and pieces[number][0] < end:
                offset, (length, piece) = pieces[number]
                crc = self._kind.join(self._between(done, offset, crc), piece, length)
                done = offset + length
                number += 1
            yield self._between(done, end, crc)

    def complete(self, start: int, end: int) -> int | None:
        """The CRC of a range, or None where some of it has not been noted."""
        crc = 0
        while start < end:
            if start not in self._pieces:
                return None
            length, piece = self._pieces[start]
            crc = self._kind.join(crc, piece, length)
            start += length
        return crc

    def _between(self, start: int, end: int, crc: int) -> int:
        """The CRC gone on with over what was not noted, which is read back."""
        while start < end:
            block = pread(self._descriptor, min(end - start, 1 << 20), start)
            if not block:
                raise OSError("the file being written became shorter")
            crc = self._kind.extend(block, crc)
            start += len(block)
        return crc
