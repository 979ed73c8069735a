"""Files on their way to their places: one writer each, all or nothing, no litter."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from surgery.errors import SurgeryError
from surgery.formats._files import sync


def beside(path: Path, suffix: str = "") -> Path:
    """The name of an unfinished target, in the target's own folder."""
    return path.with_name(f".{path.name}.surgery-{os.getpid()}{suffix}")


def target_of(name: str) -> str:
    """The target's own name in place of that of its unfinished form."""
    return re.sub(r"\.([^/]+)\.surgery-\d+", r"\1", name)


def unfinished(path: Path, undo: contextlib.ExitStack) -> Path:
    """A free name for a target that is being written; `undo` removes what is left of it.

    The target is locked until then, and what a killed run left of it is removed. Raises
    SurgeryError where another run is writing it.
    """
    missing = [p for p in (path.parent, *path.parent.parents) if not p.exists()]
    for parent in reversed(missing):
        parent.mkdir(exist_ok=True)
        undo.callback(_remove_if_empty, parent)
    _lock(path, undo)
    _restore(path)
    temporary = beside(path)
    undo.callback(remove, temporary)
    return temporary


def tidy(path: Path) -> None:
    """Remove what a killed run left of a target, unless one is writing it now."""
    if list(path.parent.glob(f".{glob.escape(path.name)}.surgery-*")):
        with contextlib.ExitStack() as undo, contextlib.suppress(SurgeryError):
            _lock(path, undo)
            _restore(path)


def _lock(path: Path, undo: contextlib.ExitStack) -> None:
    """Be the only run that writes the target; the lock goes with the process that holds it."""
    lock = path.with_name(f".{path.name}.surgery-lock")
    while True:
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except NotADirectoryError:
            raise SurgeryError(f"{path.parent} is a file, and no folder") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise SurgeryError(
                f"{path}: another run is writing it; wait for it, or choose another path"
            ) from None
        with contextlib.suppress(FileNotFoundError):
            if os.stat(lock).st_ino == os.fstat(descriptor).st_ino:
                break
        os.close(descriptor)  # its holder removed it while we waited
    undo.callback(os.close, descriptor)
    undo.callback(remove, lock)


def _restore(path: Path) -> None:
    """Put back the old target that a killed run moved aside, and remove what it had begun."""
    for left in sorted(path.parent.glob(f".{glob.escape(path.name)}.surgery-[0-9]*")):
        if left.name.endswith("-old") and not os.path.lexists(path):
            os.rename(left, path)
        else:
            remove(left)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there and can be."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def put_in_place(temporary: Mapping[Path, Path]) -> None:
    """Rename all; where one cannot be, those before it become again what they were."""
    replaced = []
    with contextlib.ExitStack() as undo:
        for path, new in temporary.items():
            old = beside(path, "-old")
            if os.path.lexists(path):
                _keep(path, old)
                undo.callback(os.replace, old, path)
                replaced.append(old)
            os.replace(new, path)
            undo.callback(os.replace, path, new)
        for folder in {path.parent for path in temporary}:
            sync(folder)
        undo.pop_all()
    for old in replaced:
        remove(old)


def _keep(path: Path, old: Path) -> None:
    """Give what stands there a second name; a file keeps the first until it is replaced."""
    try:
        os.link(path, old, follow_symlinks=False)
    except OSError:  # a folder, or a file system without links
        os.rename(path, old)
