"""File descriptors for reading, and byte ranges in files."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

from surgery.storage import remote


class FileRange(NamedTuple):
    """The place in a file where a tensor's little-endian C-order bytes lie unencoded."""

    path: Path
    offset: int


class Descriptor(int):
    """A file descriptor that closes itself when its last user is garbage collected."""

    copy: remote.SparseCopy | None = None

    @classmethod
    def open(cls, path: Path) -> Descriptor:
        """Open a file for reading; raises OSError."""
        made = cls(os.open(path, os.O_RDONLY))
        made.copy = remote.sparse_copy(path)
        return made

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self)


def pread(descriptor: int, size: int, offset: int) -> bytes:
    """Read bytes at an offset, as `os.pread`; missing bytes of a remote file are fetched first."""
    fetch_range(descriptor, offset, size)
    return os.pread(descriptor, size, offset)


def preadv(descriptor: int, view: memoryview, offset: int) -> int:
    """Read into a buffer, as `os.preadv`, and return the byte count; fetches remote bytes first."""
    fetch_range(descriptor, offset, len(view))
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [view], offset)
    data = os.pread(descriptor, len(view), offset)  # not every system reads into a buffer
    view[: len(data)] = data
    return len(data)


def fetch_range(descriptor: int, offset: int, size: int) -> None:
    """Fetch the bytes of a range that a remote file's local copy does not have yet."""
    if isinstance(descriptor, Descriptor) and descriptor.copy is not None:
        descriptor.copy.fill(offset, offset + size)
