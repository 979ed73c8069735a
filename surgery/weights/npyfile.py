"""Reading a `.npy` file lazily: its header is checked, its bytes are read in chunks."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from surgery.errors import FormatError
from surgery.storage.descriptors import Descriptor, FileRange, pread
from surgery.weights.tensor import (
    Array,
    FileTensor,
    FunctionTensor,
    Reduction,
    Tensor,
    is_numpy_dtype,
)

_LONGEST_HEADER = 1 << 16


def open_npy(path: Path) -> Tensor:
    """The array as a lazy tensor; raises FormatError where it is not a plain array of numbers."""
    try:
        with path.open("rb") as file:
            return npy_at(path, str(path), file.fileno(), 0, os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror or error}") from None


def npy_at(
    path: Path,
    name: str,
    descriptor: int,
    base: int,
    size: int,
    keep: Descriptor | None = None,
    seen: Callable[[int, memoryview], None] | None = None,
) -> Tensor:
    """A .npy file that lies in another one; it is read by `keep`, or opened for each chunk.

    `seen` is shown all that is read, with its place in the file.
    """
    head = io.BytesIO(pread(descriptor, min(size, _LONGEST_HEADER), base))
    try:
        shape, fortran, dtype = _header(head)
    except (ValueError, SyntaxError, EOFError, TypeError, RecursionError, MemoryError) as error:
        what = (str(error) or type(error).__name__).splitlines()[0]
        raise FormatError(f"{name} is not a .npy file of numbers: {what}") from None
    offset = head.tell()
    expected = offset + math.prod(shape) * dtype.itemsize
    if size < expected:
        raise FormatError(f"{name} is cut short: {size} bytes of {expected}")
    stored = FileTensor(shape, dtype, FileRange(path, base + offset), keep, seen)
    if fortran and len(shape) > 1:
        return _in_c_order(stored, keep)
    if dtype.isnative:
        return stored
    return FunctionTensor(
        shape, _little(dtype), lambda start, stop: stored.read(start, stop).astype(_little(dtype))
    )


def _in_c_order(stored: FileTensor, keep: Descriptor | None) -> Tensor:
    """An array that a file holds in Fortran's order; mapped, as each chunk is all over it."""
    shape, offset = stored.shape, stored.file_range.offset
    with open(stored.file_range.path if keep is None else os.dup(keep), "rb") as file:
        whole = np.memmap(file, stored.dtype, "r", offset, shape, "F")
    once = Reduction(lambda _: sum(chunk.size for chunk in stored.chunks()), 1)

    def read(start: int, stop: int) -> Array:
        once.result()  # from start to end, which brings a remote file here, and sums its CRC
        return _flat(whole, start, stop)

    return FunctionTensor(shape, _little(stored.dtype), read)


def npy_header(tensor: Tensor) -> bytes:
    """What stands before the elements in a .npy file; a dtype NumPy lacks becomes raw bytes."""
    dtype = tensor.dtype
    descr = dtype.str if is_numpy_dtype(dtype) else f"|V{dtype.itemsize}"
    file = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": tensor.shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


def viewed(tensor: Tensor, dtype: np.dtype[Any]) -> Tensor:
    """Raw bytes as elements of another dtype of the same size."""
    if isinstance(tensor, FileTensor):
        return tensor.viewed(dtype)
    return FunctionTensor(
        tensor.shape, dtype, lambda start, stop: tensor.read(start, stop).view(dtype)
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
    if any(size < 0 for size in shape):
        raise ValueError(f"its shape {shape} is negative")
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
