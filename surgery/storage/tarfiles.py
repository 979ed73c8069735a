"""Gzipped tar archives, as TF Hub hands modules out, unpacked into a temporary folder."""

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
"""Bytes that an archive may unpack to, however small it is."""


def holds(path: Path, name: str) -> bool:
    """Whether an archive has a file of that name at its top, or in its only folder."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            return any(Path(member.name).name == name for member in archive)
    except _UNREADABLE:
        return False


def unpacked(path: Path) -> tempfile.TemporaryDirectory[str]:
    """A temporary folder with the archive's files; raises FormatError for a hostile one."""
    folder = new_folder()
    unpack(path, Path(folder.name))
    return folder


def unpack(path: Path, folder: Path) -> None:
    """Put an archive's files into a folder; raises FormatError for a hostile one."""
    left = _ALWAYS + _MOST_RATIO * path.stat().st_size
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                if not member.isfile() and not member.isdir():
                    raise FormatError(f"{path}: {member.name} is neither a file nor a folder")
                left -= member.size
                if left < 0:
                    raise FormatError(f"{path} would unpack to absurdly many bytes")
                archive.extract(member, folder, filter="data")
    except _UNREADABLE as error:
        raise FormatError(f"{path} cannot be unpacked: {error}") from None
