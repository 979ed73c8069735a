"""Checks that each chunk of an HDF5 dataset unpacks to all of its elements.

HDF5 accepts a chunk that ends too early, and returns whatever its buffer held before for the
missing elements.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping

import h5py

from surgery.storage.descriptors import pread

_DEFLATE, _SHUFFLE, _FLETCHER32, _LZF = 1, 2, 3, 32000
_SUM = 4
"""Bytes that a Fletcher32 checksum adds; a shuffle adds none."""
_PIECE = 1 << 20


def check_chunks(dataset: h5py.Dataset, descriptor: int, base: int) -> None:
    """Raise ValueError if a chunk is too short; `base` is the offset of the HDF5 file."""
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(number)[0] for number in range(plist.get_nfilters())]
    size = math.prod(plist.get_chunk()) * dataset.id.get_type().get_size()

    def check(chunk: h5py.h5d.StoreInfo) -> None:
        used = [code for i, code in enumerate(filters) if not chunk.filter_mask >> i & 1]
        place = base + chunk.byte_offset
        found = _unpacked_size(used, descriptor, place, chunk.size)
        if found is not None and found < size:
            raise ValueError(f"the chunk at {chunk.chunk_offset} has {found} bytes of {size}")

    dataset.id.chunk_iter(check)


def _unpacked_size(filters: list[int], descriptor: int, place: int, size: int) -> int | None:
    """Return the unpacked size of a chunk in bytes; None if only the filter itself can tell."""
    packed = [number for number, code in enumerate(filters) if code not in (_SHUFFLE, _FLETCHER32)]
    if not packed:
        return size - _SUM * filters.count(_FLETCHER32)
    if len(packed) > 1 or filters[packed[0]] not in _SIZES:
        return None
    size -= _SUM * filters[packed[0] :].count(_FLETCHER32)
    unpacked = _SIZES[filters[packed[0]]](descriptor, place, size)
    return unpacked - _SUM * filters[: packed[0]].count(_FLETCHER32)


def _inflated(descriptor: int, place: int, size: int) -> int:
    """Return the number of bytes to which deflated bytes at an offset unpack."""
    unpacking = zlib.decompressobj()
    end, total = place + size, 0
    for start in range(place, end, _PIECE):
        packed = pread(descriptor, min(_PIECE, end - start), start)
        while packed and not unpacking.eof:
            total += len(unpacking.decompress(packed, _PIECE))
            packed = unpacking.unconsumed_tail
    return total


def _lzf(descriptor: int, place: int, size: int) -> int:
    """Return the number of bytes to which LZF-compressed bytes unpack.

    LZF alternates literal runs and references to earlier bytes.
    """
    packed = pread(descriptor, size, place)
    at = total = 0
    while at < len(packed):
        control = packed[at]
        if control < 32:
            total += control + 1
            at += control + 2
        elif control < 224:
            total += (control >> 5) + 2
            at += 2
        else:
            total += 9 + (packed[at + 1] if at + 1 < len(packed) else 0)
            at += 3
    return total


_SIZES: Mapping[int, Callable[[int, int, int], int]] = {_DEFLATE: _inflated, _LZF: _lzf}
