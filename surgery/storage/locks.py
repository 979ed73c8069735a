"""Locks between processes, as lock files that their holder removes."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from surgery.errors import SurgeryError


def hold(path: Path, undo: contextlib.ExitStack, refusal: str) -> None:
    """Hold a lock file until `undo` is closed.

    Raises SurgeryError, which begins with the text `refusal`, if another process holds it. The lock
    is a `flock`, which the system drops when the process ends. On systems without `flock`, the
    file's existence is the lock, and a killed process leaves it behind.
    """
    try:
        import fcntl  # missing on Windows
    except ImportError:
        _create(path, undo, refusal)
        return
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise SurgeryError(refusal) from None
        if _is_at(path, descriptor):
            break
        os.close(descriptor)  # its holder removed the file after we opened it
    undo.callback(os.close, descriptor)
    undo.callback(_remove, path, descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    """Return whether the path still names the open file."""
    try:
        return os.stat(path).st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def _remove(path: Path, descriptor: int) -> None:
    """Remove the lock file, unless another process has created a new one at that path."""
    with contextlib.suppress(OSError):
        if _is_at(path, descriptor):
            path.unlink()


def _create(path: Path, undo: contextlib.ExitStack, refusal: str) -> None:
    """Hold a lock by creating its file, which contains the holder's process id; `undo` removes it.

    Raises SurgeryError, which begins with the text `refusal`, if the file exists.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        holder = path.read_text(encoding="utf-8") or "unknown"
        raise SurgeryError(
            f"{refusal} (if there is no process {holder} any more, remove {path})"
        ) from None
    undo.callback(path.unlink, missing_ok=True)
