"""Carrying out a plan: every chunk is read once, changed, and given to all targets."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from surgery.errors import SurgeryError
from surgery.formats._base import Output, Sink
from surgery.run.observing import Effect
from surgery.run.plan import Plan, StepPlan, TargetPlan
from surgery.run.progress import Progress, Silent
from surgery.weights.tensor import Mapped, Tensor, spans


@dataclass(frozen=True)
class Written:
    """A target as it now stands: its path and the bytes of its files."""

    format: str
    path: Path
    bytes: int


@dataclass(frozen=True)
class Result:
    """What a run did."""

    plan: Plan
    outputs: tuple[Written, ...]
    seconds: float

    def effects(self) -> Iterator[tuple[StepPlan, Effect]]:
        """Each step with what it did to the elements it matched."""
        for step in self.plan.steps:
            yield step, step.observer.total()


def execute(plan: Plan, progress: Progress | None = None) -> Result:
    """Do what the plan says; all targets are there afterwards, or none.

    Raises SurgeryError where the disk is full or a file cannot be read or written.
    """
    started = time.monotonic()
    written = write(plan.targets, plan.threads, progress or Silent())
    return Result(plan, written, time.monotonic() - started)


def write(targets: Sequence[TargetPlan], threads: int, progress: Progress) -> tuple[Written, ...]:
    """Write all targets at once, or none; what they share is read once."""
    with contextlib.ExitStack() as undo:
        try:
            _write(targets, threads, progress, undo)
        except OSError as error:
            raise SurgeryError(_said(error)) from error
    return tuple(Written(t.format.name, t.path, _size(t.path)) for t in targets)


def _said(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}; nothing was written"


def _write(
    targets: Sequence[TargetPlan],
    threads: int,
    progress: Progress,
    undo: contextlib.ExitStack,
) -> None:
    _check_space(targets)
    temporary = {target.path: _unfinished(target.path, undo) for target in targets}
    outputs = []
    for target in targets:
        output = target.format.create(target.model, temporary[target.path])
        undo.callback(output.close)
        outputs.append(output)
    with _threads(threads) as pool:
        _prepare([tensor for output in outputs for tensor, _ in output.tensors], pool, progress)
        progress.phase("writing", sum(t.nbytes for t, _ in _by_tensor(outputs)))
        _pump(outputs, pool, threads, progress.advance)
        progress.phase("syncing", 0)
        list(pool.map(lambda output: output.finish(), outputs))
    _put_in_place(temporary)


@contextlib.contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """A pool that, on an error or a signal, does not begin what has not begun."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _check_space(targets: Sequence[TargetPlan]) -> None:
    """A disk that is too small is told at once, not after half the work."""
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


def _beside(path: Path, suffix: str = "") -> Path:
    return path.with_name(f".{path.name}.surgery-{os.getpid()}{suffix}")


def _unfinished(path: Path, undo: contextlib.ExitStack) -> Path:
    """A name for the unfinished target in its own folder; what is left of it is removed."""
    folder = path.parent
    missing = [p for p in (folder, *folder.parents) if not p.exists()]
    for parent in reversed(missing):
        parent.mkdir(exist_ok=True)
        undo.callback(_remove_if_empty, parent)
    temporary = _beside(path)
    _remove(temporary)
    undo.callback(_remove, temporary)
    return temporary


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _prepare(tensors: Sequence[Tensor], pool: ThreadPoolExecutor, progress: Progress) -> None:
    """Find out what must be known of whole tensors, in the order the steps need it."""
    mapped = [tensor for tensor in tensors if isinstance(tensor, Mapped)]
    reductions = dict.fromkeys(r for tensor in mapped for r in tensor.reductions())
    for reduction in reductions:
        progress.phase("ranking", 0)
        reduction.result(pool)


def _by_tensor(outputs: list[Output]) -> list[tuple[Tensor, list[Sink]]]:
    """Each tensor once, with all the places it goes to."""
    sinks: dict[int, tuple[Tensor, list[Sink]]] = {}
    for output in outputs:
        for tensor, sink in output.tensors:
            sinks.setdefault(id(tensor), (tensor, []))[1].append(sink)
    return list(sinks.values())


def _pump(
    outputs: list[Output],
    pool: ThreadPoolExecutor,
    threads: int,
    advance: Callable[[int], None],
) -> None:
    """Pull every chunk through, in as many threads; the first error stops them all."""
    jobs = (
        (tensor, sinks, span)
        for tensor, sinks in _by_tensor(outputs)
        for span in spans(tensor.size)
    )
    lock = threading.Lock()
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            with lock:
                job = next(jobs, None)
            if job is None:
                return
            tensor, sinks, (start, end) = job
            try:
                values = tensor.read(start, end)
                for sink in sinks:
                    sink(start, values)
            except BaseException:
                stop.set()
                raise
            advance(values.nbytes)

    workers = [pool.submit(work) for _ in range(threads)]
    try:
        for worker in workers:
            worker.result()
    finally:
        stop.set()


def _put_in_place(temporary: Mapping[Path, Path]) -> None:
    """Rename all; where one cannot be, those before it become again what they were."""
    replaced = []
    with contextlib.ExitStack() as undo:
        for path, new in temporary.items():
            old = _beside(path, "-old")
            if os.path.lexists(path):
                _keep(path, old)
                undo.callback(os.replace, old, path)
                replaced.append(old)
            os.replace(new, path)
            undo.callback(os.replace, path, new)
        for folder in {path.parent for path in temporary}:
            _sync(folder)
        undo.pop_all()
    for old in replaced:
        _remove(old)


def _keep(path: Path, old: Path) -> None:
    """Give what stands there a second name; a file keeps the first until it is replaced."""
    try:
        os.link(path, old, follow_symlinks=False)
    except OSError:  # a folder, or a file system without links
        os.rename(path, old)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
    return sum(file.stat().st_size for file in files)
