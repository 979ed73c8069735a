"""Gzipped tar archives, the form of modules from TF Hub, unpacked into a temporary folder."""

from __future__ import annotations

import tarfile
import tempfile
import zlib
from pathlib import Path

from surgery.errors import FormatError
from surgery.storage.temporary import new_folder

MAGIC = b"\x1f\x8b"
_UNREADABLE = (tarfile.TarError, OSError, EOFError, zlib.error, ValueError)
_MOST_RATIO = 200
_ALWAYS = 1 << 26
"""Bytes that any archive may unpack to, in addition to `_MOST_RATIO` times its size."""


def holds(path: Path, name: str) -> bool:
    """Return whether an archive has a file of that name at its top, or in a top-level folder."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            return any(Path(member.name).name == name for member in archive)
    except _UNREADABLE:
        return False


def unpacked(path: Path) -> tempfile.TemporaryDirectory[str]:
    """Unpack an archive into a new temporary folder; raises FormatError for a hostile one."""
    folder = new_folder()
    unpack(path, Path(folder.name))
    return folder


def unpack(path: Path, folder: Path) -> None:
    """Unpack an archive into a folder.

    Raises FormatError if the archive is damaged, holds something other than files and folders,
    or would unpack to far more bytes than it has.
    """
    left = _ALWAYS + _MOST_RATIO * path.stat().st_size
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                if not member.isfile() and not member.isdir():
                    raise FormatError(
                        f"{path}: {member.name} is neither a file nor a folder, so it is refused"
                    )
                left -= member.size
                if left < 0:
                    raise FormatError(
                        f"{path} would unpack to more than {_MOST_RATIO} times its size; refused"
                    )
                archive.extract(member, folder, filter="data")
    except _UNREADABLE as error:
        raise FormatError(f"{path} cannot be unpacked: {error}") from None
