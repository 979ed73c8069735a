"""The files of a model, and the state of each, by which changes are noticed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from surgery.storage import remote

FileState = tuple[int, int, int, int] | str
"""A local file's inode, size, mtime and ctime, or a remote file's version; while it is the same,
so are the contents."""


def files_in(path: Path) -> list[Path]:
    """Return the files of a model's path in order: the path itself, or all files of a folder."""
    return sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]


def file_state(path: Path) -> FileState:
    """Return the current state of a file; raises OSError if it is gone."""
    if (version := remote.version(path)) is not None:
        return version
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def named_states(paths: Iterable[Path]) -> list[tuple[str, tuple[int, ...] | str, int]]:
    """Return (path or URL, state without ctime, ctime) of all files, for use in cache keys.

    The names are the same in every process.
    """
    return [
        (remote.with_urls(str(path.absolute())), *_with_ctime_apart(state))
        for path, state in file_states(paths).items()
    ]


def _with_ctime_apart(state: FileState) -> tuple[tuple[int, ...] | str, int]:
    return (state, 0) if isinstance(state, str) else (state[:3], state[3])


def file_states(paths: Iterable[Path]) -> Mapping[Path, FileState]:
    """Return the state of every file of the given paths."""
    return {file: file_state(file) for path in paths for file in files_in(path)}
