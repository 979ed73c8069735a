"""Reading a `.npy` file lazily: its header is checked, its bytes are read in chunks."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from surgery.errors import FormatError
from surgery.weights.tensor import Array, Computed, Extent, Stored, Tensor


def open_npy(path: Path) -> Tensor:
    """The array as a lazy tensor; raises FormatError where it is not a plain array of numbers."""
    try:
        with path.open("rb") as file:
            shape, fortran, dtype = _header(file)
            offset = file.tell()
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror or error}") from None
    except (ValueError, SyntaxError, EOFError) as error:
        raise FormatError(f"{path} is not a .npy file of numbers: {error}") from None
    expected = offset + math.prod(shape) * dtype.itemsize
    if size < expected:
        raise FormatError(f"{path} is cut short: {size} bytes of {expected}")
    if fortran and len(shape) > 1:
        whole = np.load(path, mmap_mode="r", allow_pickle=False)
        return Computed(shape, _little(dtype), lambda start, stop: _flat(whole, start, stop))
    stored = Stored(shape, dtype, Extent(path, offset))
    if dtype.isnative:
        return stored
    return Computed(
        shape, _little(dtype), lambda start, stop: stored.read(start, stop).astype(_little(dtype))
    )


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    reader = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if reader is None:
        raise ValueError(f"version {version} of the format is not read")
    shape, fortran, dtype = reader(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not read: they can run code")
    if dtype.names or (dtype.kind not in "biufc" and dtype.str not in ("|V1", "|V2")):
        raise ValueError(f"its dtype {dtype} is not a number")
    return shape, fortran, dtype


def _little(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype.newbyteorder("<") if dtype.kind in "iufc" else dtype


def _flat(array: Array, start: int, stop: int) -> Array:
    indices = np.unravel_index(np.arange(start, stop), array.shape)
    return np.asarray(array[indices], _little(array.dtype))
