"""The chunks of an HDF5 dataset: whether each unpacks to all of its elements.

HDF5 takes a chunk that ends too early without a word, and the elements behind it are whatever
its memory held before.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping

import h5py

from surgery.storage.descriptors import pread

_DEFLATE, _SHUFFLE, _FLETCHER32, _LZF = 1, 2, 3, 32000
_SUM = 4
"""Bytes that Fletcher's sum adds; a shuffle adds none."""
_PIECE = 1 << 20


def check_chunks(dataset: h5py.Dataset, descriptor: int, base: int) -> None:
    """Raise ValueError for a chunk that is too short; `base` is where the HDF5 file begins."""
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
    """The bytes of a chunk's elements; None where only the filter itself can tell."""
    packed = [number for number, code in enumerate(filters) if code not in (_SHUFFLE, _FLETCHER32)]
    if not packed:
        return size - _SUM * filters.count(_FLETCHER32)
    if len(packed) > 1 or filters[packed[0]] not in _SIZES:
        return None
    size -= _SUM * filters[packed[0] :].count(_FLETCHER32)
    unpacked = _SIZES[filters[packed[0]]](descriptor, place, size)
    return unpacked - _SUM * filters[: packed[0]].count(_FLETCHER32)


def _inflated(descriptor: int, place: int, size: int) -> int:
    """How many bytes deflated ones unpack to."""
    unpacking = zlib.decompressobj()
    end, total = place + size, 0
    for start in range(place, end, _PIECE):
        packed = pread(descriptor, min(_PIECE, end - start), start)
        while packed and not unpacking.eof:
            total += len(unpacking.decompress(packed, _PIECE))
            packed = unpacking.unconsumed_tail
    return total


def _lzf(descriptor: int, place: int, size: int) -> int:
    """How many bytes LZF's unpack to: runs of bytes as they are, and of bytes seen before."""
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
