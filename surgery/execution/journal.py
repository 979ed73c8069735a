"""Atomic renaming of several targets: a journal lets a later run finish a killed one.

It lies beside the target that comes last, the manifest, and is on disk before the first rename.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from surgery.errors import SurgeryError
from surgery.storage.disk import sync
from surgery.storage.replacing import beside, lock, remove
from surgery.storage.states import files_in

_SUFFIX = ".surgery-journal"


@dataclass(frozen=True)
class Move:
    """The renaming of `new`, with this inode, to `path`; a previous `path` is kept as `old`.

    The old one is removed when all moves are done.
    """

    path: Path
    new: Path
    old: Path
    inode: int
    replaces: bool

    @classmethod
    def of(cls, path: Path, new: Path) -> Move:
        """Make the move of a finished target to its path."""
        inode = os.lstat(new).st_ino
        return cls(path, new, beside(path, "-old"), inode, os.path.lexists(path))

    @property
    def is_done(self) -> bool:
        """True if the new file is in place."""
        return _inode(self.path) == self.inode

    @property
    def can_be_done(self) -> bool:
        """True if the new file is in place, or still under its temporary name."""
        return self.inode in (_inode(self.path), _inode(self.new))

    def do(self) -> None:
        """Rename the new file, unless that is done."""
        if self.is_done:
            return
        if os.path.lexists(self.path):
            _keep(self.path, self.old)
        os.replace(self.new, self.path)

    def undo(self) -> None:
        """Restore the old file, and remove the new one."""
        if os.path.lexists(self.old):
            if self.is_done and self.path.is_dir():
                os.rename(self.path, self.new)  # a folder cannot replace one that is not empty
            os.replace(self.old, self.path)
            remove(self.old)  # os.replace leaves both names of one file
        elif self.is_done and not self.replaces:
            os.rename(self.path, self.new)
        remove(self.new)


def put_in_place(temporary: Mapping[Path, Path]) -> None:
    """Rename all {path: temporary path}; if one fails, undo those before it."""
    moves = [Move.of(path, new) for path, new in temporary.items()]
    if not moves:
        return
    journal = _journal_of(moves[-1].path)
    with contextlib.ExitStack() as undo:
        if len(moves) > 1:
            undo.callback(remove, journal)
            _write(journal, moves)
        for move in moves:
            undo.callback(move.undo)
            move.do()
        _sync_folders(moves)
        undo.pop_all()
    _clear(moves, journal)


def recover(folder: Path) -> list[str]:
    """Finish the renames of killed runs in a folder: forward if possible, else undo them.

    Returns messages about those that cannot be finished: of a live run, or in a folder that is not
    writable.
    """
    problems = []
    for journal in sorted(folder.glob(f".*{_SUFFIX}")):
        last = journal.with_name(journal.name[1 : -len(_SUFFIX)])
        try:
            with contextlib.ExitStack() as undo:
                lock(last, undo)
                moves = _read(journal)
                for move in moves:
                    if move.path != last:
                        lock(move.path, undo)
                _end(moves, journal)
        except SurgeryError:
            problems.append(f"{last}: a run is putting its targets in place; wait for it")
        except OSError as error:
            where = error.filename or journal
            problems.append(
                f"{last} is unfinished: a run was killed while it put its targets in place, and "
                f"that cannot be finished ({where}: {error.strerror}); run it again as a user "
                "with write permission there"
            )
    return problems


def _end(moves: Sequence[Move], journal: Path) -> None:
    """Finish all moves if that is possible, else undo them.

    If the last move is done, all are, since it comes last.
    """
    is_over = bool(moves) and moves[-1].is_done
    forward = all(move.can_be_done for move in moves)
    for move in () if is_over else moves:
        move.do() if forward else move.undo()
    _sync_folders(moves)
    _clear(moves, journal)


def _clear(moves: Sequence[Move], journal: Path) -> None:
    for move in moves:
        remove(move.old)
    remove(journal)


def _sync_folders(moves: Sequence[Move]) -> None:
    for folder in {move.path.parent for move in moves}:
        sync(folder)


def _journal_of(last: Path) -> Path:
    return last.with_name(f".{last.name}{_SUFFIX}")


def _write(journal: Path, moves: Sequence[Move]) -> None:
    """Write the journal and sync it to disk, after the files that it lists."""
    for move in moves:
        for file in files_in(move.new):
            sync(file)
    _sync_folders(moves)
    targets = [_facts(move, journal.parent.absolute()) for move in moves]
    journal.write_text(json.dumps({"targets": targets}), encoding="utf-8")
    sync(journal)
    sync(journal.parent)


def _facts(move: Move, folder: Path) -> dict[str, object]:
    paths = {name: getattr(move, name).absolute() for name in ("path", "new", "old")}
    relative = {name: os.path.relpath(path, folder) for name, path in paths.items()}
    return {**relative, "inode": move.inode, "replaces": move.replaces}


def _read(journal: Path) -> list[Move]:
    """Return the moves in a journal; none if it is gone or incomplete, when no rename was done."""
    try:
        facts = json.loads(journal.read_bytes())
    except (FileNotFoundError, ValueError):
        return []
    return list(_moves(facts["targets"], journal.parent))


def _moves(targets: Sequence[Mapping[str, object]], folder: Path) -> Iterator[Move]:
    for facts in targets:
        path, new, old = (folder / str(facts[name]) for name in ("path", "new", "old"))
        yield Move(path, new, old, int(str(facts["inode"])), bool(facts["replaces"]))


def _inode(path: Path) -> int | None:
    try:
        return os.lstat(path).st_ino
    except FileNotFoundError:
        return None


def _keep(path: Path, old: Path) -> None:
    """Give the file at `path` the second name `old`; a folder is renamed."""
    try:
        os.link(path, old, follow_symlinks=False)
    except OSError:  # a folder, or a file system without links
        os.rename(path, old)
