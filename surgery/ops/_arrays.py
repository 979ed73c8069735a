"""Writing of a live step's arrays to one `.npz` file."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from surgery.errors import SurgeryError
from surgery.storage import npyfiles
from surgery.weights.tensor import dtype_named

_BLOCK = 1 << 20
_NO_DATE = (1980, 1, 1, 0, 0, 0)


def write_npz(
    path: Path, arrays: Mapping[str, Mapping[str, Any]], files: Sequence[str] = ()
) -> Path:
    """Pack files of raw arrays, each with path, shape and dtype, into a reproducible .npz file.

    `files`, the names of the examples' files, become an array called `files`. Raises SurgeryError
    if an array has that name.
    """
    if files and "files" in arrays:
        raise SurgeryError(
            "an output is called files, like the array of the examples' file names; rename it"
        )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, facts in arrays.items():
            descr = np.lib.format.dtype_to_descr(dtype_named(facts["dtype"]))
            header = npyfiles.header_bytes(tuple(facts["shape"]), descr)
            info = zipfile.ZipInfo(f"{name}.npy", _NO_DATE)
            with (
                archive.open(info, "w", force_zip64=True) as member,
                Path(facts["path"]).open("rb") as rows,
            ):
                member.write(header)
                while block := rows.read(_BLOCK):
                    member.write(block)
        if files:
            with archive.open(zipfile.ZipInfo("files.npy", _NO_DATE), "w") as member:
                np.lib.format.write_array(member, np.array(files, np.str_), allow_pickle=False)
    return path
