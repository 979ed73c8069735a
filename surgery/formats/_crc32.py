"""The CRC-32 of bytes joined, from the CRC-32s of the parts.

A CRC is a polynomial over GF(2); appending n bytes multiplies it by x^(8n) modulo the
generator. So parts are summed in any order, in threads, and joined at the end. The method is
that of zlib's `crc32_combine` (Mark Adler).
"""

from __future__ import annotations

from functools import cache, reduce

_GENERATOR = 0xEDB88320
_ONE = 1 << 31


def join(first: int, second: int, length: int) -> int:
    """The CRC-32 of a + b from those of a and of b, which is `length` bytes long."""
    return _times(_shift_by(length), first) ^ second


def _times(a: int, b: int) -> int:
    """A x b modulo the generator; bit 31 is the coefficient of 1."""
    product = 0
    bit = _ONE
    while a:
        if a & bit:
            product ^= b
            a ^= bit
        bit >>= 1
        b = b >> 1 ^ (_GENERATOR if b & 1 else 0)
    return product


@cache
def _power(n: int) -> int:
    """x^(2^n) modulo the generator."""
    return _ONE >> 1 if n == 0 else _times(_power(n - 1), _power(n - 1))


@cache
def _shift_by(length: int) -> int:
    """x^(8 x length) modulo the generator."""
    exponents = (n + 3 for n in range(length.bit_length()) if length >> n & 1)
    return reduce(_times, (_power(n % 32) for n in exponents), _ONE)
