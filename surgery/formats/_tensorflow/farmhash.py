"""FarmHash's 64-bit fingerprint, which a SavedModel has of its checkpoint.

The method is that of FarmHash's `farmhashna::Hash64` (Geoff Pike, Google).
"""

from __future__ import annotations

import struct

_K0, _K1, _K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F
_MASK = (1 << 64) - 1

_Pair = tuple[int, int]


def fingerprint64(data: bytes) -> int:
    """Return the fingerprint of bytes of any length."""
    if len(data) <= 16:
        return _up_to_16(data)
    if len(data) <= 32:
        return _up_to_32(data)
    if len(data) <= 64:
        return _up_to_64(data)
    return _longer(data)


def _u64(data: bytes, place: int) -> int:
    return int.from_bytes(data[place : place + 8], "little")


def _rotate(value: int, by: int) -> int:
    value &= _MASK
    return (value >> by | value << (64 - by)) & _MASK


def _mix(value: int) -> int:
    value &= _MASK
    return value ^ value >> 47


def _pair(u: int, v: int, factor: int) -> int:
    a = _mix((u ^ v) * factor)
    return _mix((v ^ a) * factor) * factor & _MASK


def _up_to_16(data: bytes) -> int:
    size = len(data)
    factor = _K2 + size * 2
    if size >= 8:
        a, b = _u64(data, 0) + _K2, _u64(data, size - 8)
        c, d = _rotate(b, 37) * factor + a, (_rotate(a, 25) + b) * factor
        return _pair(c & _MASK, d & _MASK, factor)
    if size >= 4:
        first, last = struct.unpack("<I", data[:4])[0], struct.unpack("<I", data[-4:])[0]
        return _pair(size + (first << 3), last, factor)
    if size:
        y, z = data[0] + (data[size >> 1] << 8), size + (data[-1] << 2)
        return _mix(y * _K2 ^ z * _K0) * _K2 & _MASK
    return _K2


def _ends(data: bytes, factor: int) -> tuple[int, int, int, int]:
    size = len(data)
    return (
        _u64(data, 0) * _K1, _u64(data, 8), _u64(data, size - 8) * factor,
        _u64(data, size - 16) * _K2,
    )  # fmt: skip


def _up_to_32(data: bytes) -> int:
    factor = _K2 + len(data) * 2
    a, b, c, d = _ends(data, factor)
    u = _rotate(a + b, 43) + _rotate(c, 30) + d
    return _pair(u & _MASK, (a + _rotate(b + _K2, 18) + c) & _MASK, factor)


def _up_to_64(data: bytes) -> int:
    size = len(data)
    factor = _K2 + size * 2
    _, b, c, d = _ends(data, factor)
    a = _u64(data, 0) * _K2
    y = _rotate(a + b, 43) + _rotate(c, 30) + d
    z = _pair(y & _MASK, (a + _rotate(b + _K2, 18) + c) & _MASK, factor)
    e, f = _u64(data, 16) * factor, _u64(data, 24)
    g, h = (y + _u64(data, size - 32)) * factor, (z + _u64(data, size - 24)) * factor
    u = _rotate(e + f, 43) + _rotate(g, 30) + h
    return _pair(u & _MASK, (e + _rotate(f + a, 18) + g) & _MASK, factor)


def _weak(words: tuple[int, ...], a: int, b: int) -> _Pair:
    a += words[0]
    b = _rotate(b + a + words[3], 21)
    c = a
    a += words[1] + words[2]
    return (a + words[3]) & _MASK, (b + _rotate(a, 44) + c) & _MASK


def _step(
    words: tuple[int, ...], x: int, y: int, z: int, v: _Pair, w: _Pair, factors: _Pair
) -> tuple[int, int, int, _Pair, _Pair]:
    """Mix in one block of 64 bytes; `factors` are 1 and k1 except in the last block."""
    times, factor = factors
    x = _rotate(x + y + v[0] + words[1], 37) * factor
    y = _rotate(y + v[1] + words[6], 42) * factor
    x = (x ^ w[1] * times) & _MASK
    y = (y + v[0] * times + words[5]) & _MASK
    z = _rotate(z + w[0], 33) * factor & _MASK
    v = _weak(words[:4], v[1] * factor, x + w[0])
    w = _weak(words[4:], z + w[1], y + words[2])
    return z, y, x, v, w


def _longer(data: bytes) -> int:
    y = (81 * _K1 + 113) & _MASK
    z = _mix(y * _K2 + 113) * _K2 & _MASK
    v = w = (0, 0)
    x = (81 * _K2 + _u64(data, 0)) & _MASK
    whole = (len(data) - 1) // 64 * 64
    for words in struct.iter_unpack("<8Q", data[:whole]):
        x, y, z, v, w = _step(words, x, y, z, v, w, (1, _K1))
    factor = _K1 + ((z & 0xFF) << 1)
    left = (len(data) - 1) & 63
    first = w[0] + left
    v = (v[0] + first, v[1])
    w = (first + v[0], w[1])
    x, y, z, v, w = _step(struct.unpack("<8Q", data[-64:]), x, y, z, v, w, (9, factor))
    u = _pair(v[0], w[0], factor) + _mix(y) * _K0 + z
    return _pair(u & _MASK, (_pair(v[1], w[1], factor) + x) & _MASK, factor)
