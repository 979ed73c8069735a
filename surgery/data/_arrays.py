"""Arrays in .npy and .npz files, mapped into memory where they lie there as they are."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from surgery.declared.data import Column, Examples, Names, Rows
from surgery.errors import FormatError, did_you_mean
from surgery.weights.tensor import Array

_LOCAL_HEADER = 30


def npy(path: Path) -> Array:
    """The array in a .npy file; raises FormatError where it is none."""
    try:
        found: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FormatError(f"{path} is no .npy file of numbers: {reason}") from None
    return found


def npz(path: Path, names: list[str]) -> dict[str, Array]:
    """Arrays of a .npz file by name; raises FormatError where it has no such ones."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: _member(path, archive, name) for name in names}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or error
        raise FormatError(f"{path} is no .npz file of numbers: {reason}") from None


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> Array:
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    if name not in members:
        hint = did_you_mean(name, members)
        raise FormatError(f"{path} has no array {name!r}{hint}; it has {', '.join(members)}")
    info = members[name]
    with archive.open(info) as file:
        if info.compress_type != zipfile.ZIP_STORED:
            whole: Array = np.lib.format.read_array(file, allow_pickle=False)
            return whole
        version = np.lib.format.read_magic(file)
        read = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
        shape, is_fortran, dtype = read(file)
        if dtype.hasobject:
            raise ValueError(f"{name} holds Python objects")
        header = file.tell()
    with path.open("rb") as raw:
        raw.seek(info.header_offset)
        local = raw.read(_LOCAL_HEADER)
    extra = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
    offset = info.header_offset + _LOCAL_HEADER + extra + header
    if not all(shape):
        return np.empty(shape, dtype)
    if is_fortran:
        return np.memmap(path, dtype, "r", offset, tuple(shape), "F")
    return np.memmap(path, dtype, "r", offset, tuple(shape), "C")


def examples(
    arrays: Mapping[str, Array], where: str, x: Names, y: Names | None, weight: str | None
) -> Examples:
    """Examples of arrays whose first axes are the examples; raises FormatError else."""
    counts = {name: len(array) if array.shape else -1 for name, array in arrays.items()}
    if len(set(counts.values())) > 1 or -1 in counts.values():
        said = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
        raise FormatError(f"{where}: its arrays have not the same number of examples: {said}")

    def gather(rows: Rows) -> Mapping[str, Array]:
        return {name: np.asarray(array[rows]) for name, array in arrays.items()}

    columns = {name: Column(array.shape[1:], _plain(array.dtype)) for name, array in arrays.items()}
    wanted = y.columns if y else []
    labels = (lambda: arrays[wanted[0]]) if len(wanted) == 1 else None
    return Examples(next(iter(counts.values())), columns, gather, x, y, weight, labels)


def _plain(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype.newbyteorder("=")
