"""Writing of targets: all of them are put in place, or none."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from surgery.errors import SurgeryError
from surgery.execution import journal
from surgery.execution.plan import TargetPlan
from surgery.execution.progress import Progress
from surgery.execution.streaming import Digests, Watch, stream
from surgery.formats.base import Output
from surgery.live.loading import load_check_result
from surgery.storage import locations, replacing
from surgery.storage.states import files_in
from surgery.weights.tensor import Tensor

Conclude = Callable[[Mapping[Path, Path], Digests], Mapping[Path, Path]]


@dataclass(frozen=True)
class Written:
    """A target in place: its path and the bytes of its files.

    `check` is the result of the check by Keras, if there was one.
    """

    format: str
    path: Path
    bytes: int
    check: str = ""


def write(
    targets: Sequence[TargetPlan],
    threads: int,
    progress: Progress,
    conclude: Conclude = lambda _temporary, _digests: {},
    extra: Sequence[Path] = (),
    summing: bool = False,
    watchers: Mapping[int, Watch] | None = None,
    seen: Sequence[Tensor] = (),
) -> tuple[Written, ...]:
    """Write all targets, or none; weights that they share are read once.

    `conclude` gets the temporary path of every target and `extra` path before they are put in
    place, and the digests of all tensors by id; it returns further {path: temporary path} to put
    in place. The tensors in `seen` are read, too, without being written. Raises SurgeryError.
    """
    with contextlib.ExitStack() as undo:
        try:
            _check_space(targets)
            paths = [*(target.path for target in targets), *extra]
            for folder in {path.parent for path in paths}:
                journal.recover(folder)
            temporary = {path: replacing.unfinished(path, undo) for path in paths}
            outputs = [_begun(target, temporary[target.path], undo) for target in targets]
            nowhere = Output(
                [(tensor, lambda _start, _values: None) for tensor in seen], lambda: None
            )
            digests = stream([*outputs, nowhere], threads, progress, watchers or {}, summing)
            more = conclude(temporary, digests)
            made = {**{t.path: temporary[t.path] for t in targets}, **more}
            written = [Written(t.format.name, t.path, _size(made[t.path])) for t in targets]
            for path in [path for path in made if locations.url_of(path) is not None]:
                locations.upload(made.pop(path), path)
            journal.put_in_place(made)
        except OSError as error:
            raise SurgeryError(_message(error)) from error
    return tuple(written)


def load_checks(targets: Sequence[TargetPlan]) -> Mapping[Path, str]:
    """Run the checks that Keras can load the targets, before writing.

    Raises SurgeryError if it cannot.
    """
    found: dict[Path, str] = {}
    for target in targets:
        if target.check is not None:
            try:
                found[target.path] = load_check_result(target.check)
            except SurgeryError as error:
                raise SurgeryError(
                    f"{target.path}: Keras cannot load the upgraded model, so nothing is "
                    f"written: {error}; config: keep writes the config unchanged"
                ) from None
    return found


def _begun(target: TargetPlan, path: Path, undo: contextlib.ExitStack) -> Output:
    output = target.format.create(target.model, path)
    undo.callback(output.close)
    return output


def _message(error: OSError) -> str:
    where = f"{replacing.target_of(str(error.filename))}: " if error.filename else ""
    return f"{where}{error.strerror or error}; nothing was written"


def _check_space(targets: Sequence[TargetPlan]) -> None:
    """Raise SurgeryError if a disk has too little space, before the work begins."""
    needed: dict[int, int] = {}
    for target in targets:
        folder = _existing_parent(target.path)
        device = folder.stat().st_dev
        needed[device] = needed.get(device, 0) + target.bytes
        free = shutil.disk_usage(folder).free
        if needed[device] > free:
            raise SurgeryError(
                f"{target.path}: the disk has {free / 1e9:.1f} GB free, and the targets on it need "
                f"{needed[device] / 1e9:.1f} GB; nothing was written"
            )


def _existing_parent(path: Path) -> Path:
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    return folder


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in files_in(path))
