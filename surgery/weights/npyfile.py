"""Lazy reading of `.npy` files: the header is checked, the elements are read by chunk."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from surgery.errors import FormatError
from surgery.storage import npyfiles
from surgery.storage.descriptors import Descriptor, FileRange
from surgery.weights.tensor import (
    Array,
    FileTensor,
    FunctionTensor,
    Reduction,
    Tensor,
    is_numpy_dtype,
)


def open_npy(path: Path) -> Tensor:
    """Open an array as a lazy tensor; raises FormatError if it is not an array of numbers."""
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
    """Open a .npy file of `size` bytes at byte `base` of another file.

    The header is read by `descriptor`, the elements by `keep`; if that is None, `path` is opened
    for each chunk. `seen(offset, bytes)` is called for every whole chunk read. Raises FormatError;
    `name` is for its message.
    """
    try:
        header = npyfiles.read_header(descriptor, base, size)
        _check_numbers(header.dtype)
    except ValueError as error:
        raise FormatError(f"{name} is not a .npy file of numbers: {error}") from None
    if size < header.end:
        raise FormatError(f"{name} is truncated: {size} bytes of {header.end}")
    shape, dtype = header.shape, header.dtype
    stored = FileTensor(shape, dtype, FileRange(path, base + header.size), keep, seen)
    if header.is_fortran and len(shape) > 1:
        return _in_c_order(stored, keep)
    if dtype.isnative:
        return stored
    return FunctionTensor(
        shape, _little(dtype), lambda start, stop: stored.read(start, stop).astype(_little(dtype))
    )


def _in_c_order(stored: FileTensor, keep: Descriptor | None) -> Tensor:
    """Return a Fortran-order array as a tensor; memory-mapped, as its chunks are scattered."""
    shape, offset = stored.shape, stored.file_range.offset
    with open(stored.file_range.path if keep is None else os.dup(keep), "rb") as file:
        whole = np.memmap(file, stored.dtype, "r", offset, shape, "F")
    once = Reduction(lambda _: sum(chunk.size for chunk in stored.chunks()), 1)

    def read(start: int, stop: int) -> Array:
        once.result()  # reads all bytes in order: fetches a remote file, and sums its CRC
        return _flat(whole, start, stop)

    return FunctionTensor(shape, _little(stored.dtype), read)


def npy_header(tensor: Tensor) -> bytes:
    """Return the header bytes of a .npy file; dtypes that NumPy lacks become raw bytes."""
    dtype = tensor.dtype
    descr = dtype.str if is_numpy_dtype(dtype) else f"|V{dtype.itemsize}"
    return npyfiles.header_bytes(tensor.shape, descr)


def viewed(tensor: Tensor, dtype: np.dtype[Any]) -> Tensor:
    """Reinterpret a tensor's bytes as another dtype of the same size."""
    if isinstance(tensor, FileTensor):
        return tensor.viewed(dtype)
    return FunctionTensor(
        tensor.shape, dtype, lambda start, stop: tensor.read(start, stop).view(dtype)
    )


def _check_numbers(dtype: np.dtype[Any]) -> None:
    if dtype.names or (dtype.kind not in "biufc" and dtype.str not in ("|V1", "|V2")):
        raise ValueError(f"its dtype {dtype} is not a number")


def _little(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype.newbyteorder("<") if dtype.kind in "iufc" else dtype


def _flat(array: Array, start: int, stop: int) -> Array:
    indices = np.unravel_index(np.arange(start, stop), array.shape)
    return np.asarray(array[indices], _little(array.dtype))
