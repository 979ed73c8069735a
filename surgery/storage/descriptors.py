"""File descriptors to read by, and the ranges of bytes in files that are read."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

from surgery.storage import remote


class FileRange(NamedTuple):
    """Where a tensor's little-endian C-order bytes lie untouched in a file."""

    path: Path
    offset: int


class Descriptor(int):
    """An open file's descriptor, closed when the last that reads by it is gone."""

    copy: remote.SparseCopy | None = None

    @classmethod
    def open(cls, path: Path) -> Descriptor:
        """Open a file to read; raises OSError."""
        made = cls(os.open(path, os.O_RDONLY))
        made.copy = remote.sparse_copy(path)
        return made

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self)


def pread(descriptor: int, size: int, offset: int) -> bytes:
    """Bytes of a file, as `os.pread`; of a remote one they are fetched first."""
    fetch_range(descriptor, offset, size)
    return os.pread(descriptor, size, offset)


def preadv(descriptor: int, view: memoryview, offset: int) -> int:
    """Bytes of a file into a buffer, as `os.preadv`; of a remote one they are fetched first."""
    fetch_range(descriptor, offset, len(view))
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [view], offset)
    data = os.pread(descriptor, len(view), offset)  # not every system reads into a buffer
    view[: len(data)] = data
    return len(data)


def fetch_range(descriptor: int, offset: int, size: int) -> None:
    """Fetch a range of bytes of a remote file that is not here yet."""
    if isinstance(descriptor, Descriptor) and descriptor.copy is not None:
        descriptor.copy.fill(offset, offset + size)
