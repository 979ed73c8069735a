"""Arrays in .npy and .npz files, memory-mapped if they are not compressed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from surgery.declared.data import Column, Examples, Names, Rows
from surgery.errors import FormatError, did_you_mean
from surgery.storage import npyfiles
from surgery.storage.descriptors import Descriptor
from surgery.storage.zipfiles import Archive
from surgery.weights.tensor import Array


def npy(path: Path) -> Array:
    """Memory-map the array in a .npy file; raises FormatError if it is not one."""
    with _read_as(path, ".npy"):
        descriptor = Descriptor.open(path)
        return _mapped(descriptor, 0, os.fstat(descriptor).st_size)


def npz(path: Path, names: list[str]) -> dict[str, Array]:
    """Memory-map arrays of a .npz file by name; compressed ones are first unpacked to a file.

    Raises FormatError for a damaged file or a missing array.
    """
    with _read_as(path, ".npz"):
        archive = Archive(path)
        return {name: _member(archive, name) for name in names}


@contextmanager
def _read_as(path: Path, kind: str) -> Iterator[None]:
    """Turn OSError and ValueError inside the context into FormatError: PATH is not a KIND file."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FormatError(f"{path} is not a {kind} file of numbers: {reason}") from None


def _member(archive: Archive, name: str) -> Array:
    members = {member.removesuffix(".npy"): member for member in archive.members}
    if name not in members:
        hint = did_you_mean(name, members)
        raise FormatError(
            f"{archive.path} has no array {name!r}{hint}; it has {', '.join(members)}"
        )
    return _mapped(*archive.place(members[name]))


def _mapped(descriptor: int, start: int, size: int) -> Array:
    """Memory-map the array of the .npy file at byte `start` of a file; raises ValueError."""
    header = npyfiles.read_header(descriptor, start, size)
    if header.end > size:
        raise ValueError(f"it is truncated: {size} bytes of {header.end}")
    if not all(header.shape):
        return np.empty(header.shape, header.dtype)
    with open(os.dup(descriptor), "rb") as file:
        place = start + header.size
        shape = header.shape[::-1] if header.is_fortran else header.shape
        whole: Array = np.memmap(file, header.dtype, "r", place, shape)
    return whole.T if header.is_fortran else whole


def examples(
    arrays: Mapping[str, Array], where: str, x: Names, y: Names | None, weight: str | None
) -> Examples:
    """Make examples from arrays whose first axis is the examples; raises FormatError."""
    counts = {name: len(array) if array.shape else -1 for name, array in arrays.items()}
    if len(set(counts.values())) > 1 or -1 in counts.values():
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
        raise FormatError(f"{where}: the arrays differ in their number of examples: {shapes}")

    def gather(rows: Rows) -> Mapping[str, Array]:
        return {name: np.asarray(array[rows]) for name, array in arrays.items()}

    columns = {name: Column(array.shape[1:], _plain(array.dtype)) for name, array in arrays.items()}
    wanted = y.columns if y else []
    labels = (lambda: arrays[wanted[0]]) if len(wanted) == 1 else None
    return Examples(next(iter(counts.values())), columns, gather, x, y, weight, labels)


def _plain(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype.newbyteorder("=")
