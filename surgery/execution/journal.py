"""Several targets put in place together: a journal says how, so that a killed run can be ended.

It stands beside the target that comes last, the manifest, and is on disk before the first rename.
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
    """Rename `new`, of that inode, to `path`; until all are renamed, what stood there is `old`."""

    path: Path
    new: Path
    old: Path
    inode: int
    replaces: bool

    @classmethod
    def of(cls, path: Path, new: Path) -> Move:
        """Return the move of a finished target to its place."""
        inode = os.lstat(new).st_ino
        return cls(path, new, beside(path, "-old"), inode, os.path.lexists(path))

    @property
    def is_done(self) -> bool:
        """Return whether the new file is in its place."""
        return _inode(self.path) == self.inode

    @property
    def can_be_done(self) -> bool:
        """Return whether it is done, or still can be."""
        return self.inode in (_inode(self.path), _inode(self.new))

    def do(self) -> None:
        """Rename, unless that is done."""
        if self.is_done:
            return
        if os.path.lexists(self.path):
            _keep(self.path, self.old)
        os.replace(self.new, self.path)

    def undo(self) -> None:
        """Put back what stood there before, and remove what was written."""
        if os.path.lexists(self.old):
            if self.is_done and self.path.is_dir():
                os.rename(self.path, self.new)  # no folder replaces one that is not empty
            os.replace(self.old, self.path)
            remove(self.old)  # two names of one file stay two
        elif self.is_done and not self.replaces:
            os.rename(self.path, self.new)
        remove(self.new)


def put_in_place(temporary: Mapping[Path, Path]) -> None:
    """Rename all; where one cannot be, those before it become again what they were."""
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
    """End what killed runs have left half in place there: forward where that can be, else back.

    Returns what could not be ended: that of a live run, or of a folder that is not writable.
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
                f"that cannot be ended here ({where}: {error.strerror}); run it again as somebody "
                "who may write there"
            )
    return problems


def _end(moves: Sequence[Move], journal: Path) -> None:
    """Finish all moves where that is possible, else undo them.

    The last is renamed last: where it is in place, all are.
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
    """Write the journal to disk, after all files that it names."""
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
    """Return the moves of a journal; none where it is gone, or was not whole before any rename."""
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
    """Give what stands there a second name; a file keeps the first until it is replaced."""
    try:
        os.link(path, old, follow_symlinks=False)
    except OSError:  # a folder, or a file system without links
        os.rename(path, old)
