"""Headers of `.npy` files, in NumPy's format."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from surgery.storage.descriptors import pread

_LONGEST_HEADER = 1 << 16
_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_BROKEN = (ValueError, SyntaxError, EOFError, TypeError, RecursionError, MemoryError)


@dataclass(frozen=True)
class Header:
    """The header of a `.npy` file; `size` is the number of bytes of the header itself."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]
    size: int

    @property
    def end(self) -> int:
        """The number of bytes of the header and all elements together."""
        return self.size + math.prod(self.shape) * self.dtype.itemsize


def read_header(descriptor: int, base: int, size: int) -> Header:
    """Read the header of a `.npy` file of `size` bytes that starts at byte `base`.

    Raises ValueError if it is not a `.npy` header, or if the array holds Python objects.
    """
    head = io.BytesIO(pread(descriptor, min(size, _LONGEST_HEADER), base))
    try:
        version = np.lib.format.read_magic(head)
        if version not in _READERS:
            raise ValueError(f"version {version} of the format is not read")
        shape, is_fortran, dtype = _READERS[version](head)
    except _BROKEN as error:
        raise ValueError((str(error) or type(error).__name__).splitlines()[0]) from None
    if any(length < 0 for length in shape):
        raise ValueError(f"its shape {shape} is negative")
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not read: they can run code")
    return Header(shape, is_fortran, dtype, head.tell())


def header_bytes(shape: tuple[int, ...], descr: Any) -> bytes:
    """Return the header bytes of a C-order array; `descr` is NumPy's dtype string, as `<f4`."""
    file = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()
