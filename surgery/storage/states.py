"""The files of a model, and by what one can see that they have changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from surgery.storage import remote

FileState = tuple[int, int, int, int] | str
"""A file's inode, size, mtime and ctime, or a remote one's version: another one may mean other
contents."""


def files_in(path: Path) -> list[Path]:
    """The files that a model's path stands for, in order."""
    return sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]


def file_state(path: Path) -> FileState:
    """The state of a file now; raises OSError where it is gone."""
    if (version := remote.version(path)) is not None:
        return version
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def named_states(paths: Iterable[Path]) -> list[tuple[str, tuple[int, ...] | str, int]]:
    """Return the states of all files by their names, the same in every process, for keys."""
    return [
        (remote.with_urls(str(path.absolute())), *_with_ctime_apart(state))
        for path, state in file_states(paths).items()
    ]


def _with_ctime_apart(state: FileState) -> tuple[tuple[int, ...] | str, int]:
    return (state, 0) if isinstance(state, str) else (state[:3], state[3])


def file_states(paths: Iterable[Path]) -> Mapping[Path, FileState]:
    """The states of all files that the paths stand for."""
    return {file: file_state(file) for path in paths for file in files_in(path)}
