"""CRCs of bytes that arrive in pieces and in any order: one CRC a piece, then all combined.

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
    """A 32-bit CRC: its generator polynomial, and a function that extends a CRC by more bytes."""

    def __init__(self, generator: int, extend: Callable[[bytes | memoryview, int], int]) -> None:
        self.extend = extend
        self._generator = generator
        self._power = cache(self._found_power)
        self._shift_by = cache(self._found_shift)

    def join(self, first: int, second: int, length: int) -> int:
        """Return the CRC of a + b, given the CRCs of a and b and the length of b in bytes."""
        return self._times(self._shift_by(length), first) ^ second if first else second

    def _times(self, a: int, b: int) -> int:
        """Multiply two polynomials modulo the generator; bit 31 is the coefficient of 1."""
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
        """Compute x^(2^n) modulo the generator."""
        return _ONE >> 1 if n == 0 else self._times(self._power(n - 1), self._power(n - 1))

    def _found_shift(self, length: int) -> int:
        """Compute x^(8 * length) modulo the generator."""
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
    """The CRC of a file whose chunks are read or written in any order."""

    def __init__(self, descriptor: int, kind: Crc) -> None:
        self._descriptor, self._kind = descriptor, kind
        self._lock = threading.Lock()
        self._pieces: dict[int, tuple[int, int]] = {}

    def seen(self, offset: int, data: memoryview) -> None:
        """Add the chunk at a byte offset; the same offset counts once."""
        if offset in self._pieces or not len(data):
            return
        piece = len(data), self._kind.extend(data, 0)
        with self._lock:
            self._pieces[offset] = piece

    @property
    def done(self) -> int:
        """The number of bytes added so far."""
        return sum(length for length, _ in self._pieces.values())

    def crcs(self, ranges: Sequence[tuple[int, int]]) -> Iterator[int]:
        """Yield the CRC of each byte range; ranges must be sorted, and no chunk may span two.

        Bytes that were never added are read back from the file.
        """
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
        """Return the CRC of a byte range, or None if some of its bytes were not added."""
        crc = 0
        while start < end:
            if start not in self._pieces:
                return None
            length, piece = self._pieces[start]
            crc = self._kind.join(crc, piece, length)
            start += length
        return crc

    def _between(self, start: int, end: int, crc: int) -> int:
        """Extend a CRC over bytes that were not added, by reading them back.

        Raises OSError if the file ends before.
        """
        while start < end:
            block = pread(self._descriptor, min(end - start, 1 << 20), start)
            if not block:
                raise OSError("the file became shorter while it was written")
            crc = self._kind.extend(block, crc)
            start += len(block)
        return crc
