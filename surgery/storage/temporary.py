"""Temporary files and folders."""

from __future__ import annotations

import os
import tempfile
from typing import IO

_PREFIX = "surgery-"
_chosen: list[str] = []


def use(folder: str) -> None:
    """Put all temporary files of this process into that folder, those of libraries too."""
    _chosen.append(folder)
    tempfile.tempdir = folder


def scratch() -> str | None:
    """The folder that a batch system has for a job; None where Python is to decide ($TMPDIR)."""
    return _chosen[-1] if _chosen else os.environ.get("SLURM_TMPDIR") or None


def new_file(suffix: str = "") -> IO[bytes]:
    """Open a temporary file to write and read; it is removed when it is closed."""
    return tempfile.NamedTemporaryFile(prefix=_PREFIX, suffix=suffix, dir=scratch())


def new_folder() -> tempfile.TemporaryDirectory[str]:
    """Make a temporary folder, a context manager that removes it."""
    return tempfile.TemporaryDirectory(prefix=_PREFIX, dir=scratch())


def lasting_folder(name: str = "") -> str:
    """Make a temporary folder that its owner removes."""
    return tempfile.mkdtemp(prefix=f"{_PREFIX}{name}", dir=scratch())
