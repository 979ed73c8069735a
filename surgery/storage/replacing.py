"""Atomic replacement of files: one writer at a time, all or nothing, no leftovers."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import uuid
from pathlib import Path

from surgery.errors import SurgeryError
from surgery.storage import locks


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file atomically."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def beside(path: Path, suffix: str = "") -> Path:
    """Return the temporary path of an unfinished target, in the target's own folder."""
    return path.with_name(f".{path.name}.surgery-{os.getpid()}{suffix}")


def target_of(name: str) -> str:
    """Replace the names of unfinished targets in a text by the names of the targets."""
    return re.sub(r"\.([^/]+)\.surgery-\d+", r"\1", name)


def unfinished(path: Path, undo: contextlib.ExitStack) -> Path:
    """Lock a target, and return a free temporary path for writing it.

    What a killed run left there is removed. Closing `undo` removes the unfinished file and the
    lock. Raises SurgeryError if another run is writing the target.
    """
    missing = [p for p in (path.parent, *path.parent.parents) if not p.exists()]
    for parent in reversed(missing):
        parent.mkdir(exist_ok=True)
        undo.callback(_remove_if_empty, parent)
    lock(path, undo)
    _restore(path)
    temporary = beside(path)
    undo.callback(remove, temporary)
    return temporary


def tidy(path: Path) -> None:
    """Remove what a killed run left of a target, unless another run is writing it now."""
    if list(path.parent.glob(f".{glob.escape(path.name)}.surgery-*")):
        with contextlib.ExitStack() as undo, contextlib.suppress(SurgeryError):
            lock(path, undo)
            _restore(path)


def lock(path: Path, undo: contextlib.ExitStack) -> None:
    """Lock a target until `undo` is closed; raises SurgeryError if another run holds the lock."""
    refusal = f"{path}: another run is writing it; wait for it, or choose another path"
    try:
        locks.hold(path.with_name(f".{path.name}.surgery-lock"), undo, refusal)
    except NotADirectoryError:
        raise SurgeryError(f"{path.parent} is a file, not a folder") from None


def _restore(path: Path) -> None:
    """Restore the old target that a killed run moved aside, and remove its unfinished files."""
    for left in sorted(path.parent.glob(f".{glob.escape(path.name)}.surgery-[0-9]*")):
        if left.name.endswith("-old") and not os.path.lexists(path):
            os.rename(left, path)
        else:
            remove(left)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def remove(path: Path) -> None:
    """Remove a file or a folder, ignoring errors."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
