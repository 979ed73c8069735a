"""Temporary files and folders."""

from __future__ import annotations

import os
import tempfile
from typing import IO

_PREFIX = "surgery-"
_chosen: list[str] = []


def use(folder: str) -> None:
    """Set the folder for all temporary files of this process, including those of libraries."""
    _chosen.append(folder)
    tempfile.tempdir = folder


def scratch() -> str | None:
    """Return the folder for temporary files; None lets Python choose (`$TMPDIR`).

    It is the one given to `use`, else a Slurm job's `$SLURM_TMPDIR`.
    """
    return _chosen[-1] if _chosen else os.environ.get("SLURM_TMPDIR") or None


def new_file(suffix: str = "") -> IO[bytes]:
    """Open a temporary file for reading and writing; it is removed when it is closed."""
    return tempfile.NamedTemporaryFile(prefix=_PREFIX, suffix=suffix, dir=scratch())


def new_folder() -> tempfile.TemporaryDirectory[str]:
    """Create a temporary folder; the returned context manager removes it."""
    return tempfile.TemporaryDirectory(prefix=_PREFIX, dir=scratch())


def lasting_folder(name: str = "") -> str:
    """Create a temporary folder that the caller must remove."""
    return tempfile.mkdtemp(prefix=f"{_PREFIX}{name}", dir=scratch())
