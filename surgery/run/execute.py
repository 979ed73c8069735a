"""Carrying out a plan: every chunk is read once, changed, and given to all targets."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surgery.errors import ExpectationError, SurgeryError
from surgery.expectations._base import Found
from surgery.formats._base import Output, Sink
from surgery.run import files, manifest
from surgery.run.observing import Effect
from surgery.run.plan import Plan, StepPlan, TargetPlan, file_state
from surgery.run.progress import Progress, Silent
from surgery.weights.digest import Digest, Watched
from surgery.weights.model import Weight
from surgery.weights.statistics import Statistics, of_chunk
from surgery.weights.tensor import Array, Mapped, Tensor, spans

Sums = dict[int, str]
"""The SHA-256 of tensors, by their id."""

Watch = Callable[[int, Array], None]

Conclude = Callable[[Mapping[Path, Path], Sums], Mapping[Path, Path]]


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
    manifest: Path | None = None

    def effects(self) -> Iterator[tuple[StepPlan, Effect]]:
        """Each step with what it did to the elements it matched."""
        for step in self.plan.steps:
            yield step, step.observer.total()


def execute(
    plan: Plan, progress: Progress | None = None, with_manifest: bool = True, hashes: bool = False
) -> Result:
    """Do what the plan says; all targets are there afterwards, or none.

    `hashes` adds the SHA-256 of whole files to the manifest. Raises SurgeryError where the disk
    is full or a file cannot be read or written, or is changed while it is read.
    """
    started = time.monotonic()
    progress = progress or Silent()
    progress.say("started", source=plan.source.origin, weights=len(plan.source.weights))
    for note in plan.notes:
        progress.say("note", message=note)
    path = manifest.path_of(plan.recipe)

    watchers = _watchers(plan)

    def conclude(temporary: Mapping[Path, Path], sums: Sums) -> Mapping[Path, Path]:
        _check_inputs(plan)
        _check_expectations(plan, watchers, sums)
        if not with_manifest:
            return {}
        facts = _manifest(plan, temporary, sums, path.parent, hashes)
        facts["seconds"] = round(time.monotonic() - started, 3)
        temporary[path].write_text(manifest.as_text(facts), encoding="utf-8")
        return {path: temporary[path]}

    written = write(
        plan.targets,
        plan.threads,
        progress,
        conclude,
        extra=(path,) if with_manifest else (),
        summing=with_manifest or any(e.expectation.needs == "changed" for e in plan.recipe.expect),
        watchers={id(plan.model[address].tensor): w for address, w in watchers.items()},
    )
    result = Result(plan, written, time.monotonic() - started, path if with_manifest else None)
    for number, (step, effect) in enumerate(result.effects(), 1):
        progress.say("step", number=number, step=step.step.title, changed=effect.changed)
    for each in written:
        progress.say("wrote", format=each.format, path=str(each.path), bytes=each.bytes)
    progress.say("done", seconds=round(result.seconds, 3))
    return result


def _check_inputs(plan: Plan) -> None:
    for path, state in plan.inputs.items():
        if not path.exists() or file_state(path) != state:
            raise SurgeryError(f"{path} was changed while it was read; nothing was written")
    for model in (plan.source, *plan.donors):
        for check in model.checks:
            check()


class _Watcher:
    """Statistics of a tensor whose chunks come in any order."""

    def __init__(self) -> None:
        self._parts: dict[int, Statistics] = {}

    def __call__(self, start: int, values: Array) -> None:
        self._parts[start] = of_chunk(values)

    def total(self) -> Statistics:
        """Of all chunks, added in order."""
        return sum((part for _, part in sorted(self._parts.items())), Statistics())


def _watchers(plan: Plan) -> dict[str, _Watcher]:
    """One for every weight whose values something is expected of."""
    needing = (e.expectation for e in plan.recipe.expect if e.expectation.needs == "statistics")
    return {w.address: _Watcher() for each in needing for w in each.selected(plan.model)}


def _check_expectations(plan: Plan, watchers: Mapping[str, _Watcher], sums: Sums) -> None:
    """Raise ExpectationError with all that does not hold."""
    changed = {}
    for each in plan.recipe.expect:
        if each.expectation.needs == "changed":
            for weight in each.expectation.selected(plan.model):
                changed[weight.address] = _has_changed(plan, weight, sums)
    found = Found({address: watcher.total() for address, watcher in watchers.items()}, changed)
    failures = [
        plan.recipe.document.problem(each.place, message)
        for each in plan.recipe.expect
        for message in each.expectation.failures(plan.model, found)
    ]
    if failures:
        raise ExpectationError(plan.recipe.file, failures)


def _has_changed(plan: Plan, weight: Weight, sums: Sums) -> bool:
    old = plan.source.by_address.get(weight.address)
    if old is None or not isinstance(old.tensor, Watched):
        return True
    if old.tensor is weight.tensor:
        return False
    same_form = old.tensor.shape == weight.tensor.shape and old.tensor.dtype == weight.tensor.dtype
    return not same_form or old.tensor.digest.finish(old.tensor) != sums[id(weight.tensor)]


def _manifest(
    plan: Plan, temporary: Mapping[Path, Path], sums: Sums, folder: Path, hashes: bool
) -> dict[str, Any]:
    given = [path for step in plan.recipe.steps for path in step.op.inputs()]
    outputs = []
    for target in plan.targets:
        new = temporary[target.path]
        facts = manifest.output_facts(target.format, new, target.path, target.model, sums, folder)
        if hashes:
            manifest.add_file_hashes(facts, new)
        outputs.append(facts)
    steps = []
    for step in plan.steps:
        effect = step.observer.total()
        steps.append(
            {
                "op": step.step.op.name,
                "name": step.step.name,
                "matched": [weight.address for weight in step.matched],
                "changed": effect.changed,
                "before": effect.before.as_dict(),
                "after": effect.after.as_dict(),
            }
        )
    return {
        **manifest.head(plan.recipe),
        "threads": plan.threads,
        "inputs": [manifest.input_facts(m, folder) for m in (plan.source, *plan.donors)],
        "files": manifest.file_facts(given, folder),
        "steps": steps,
        "notes": list(plan.notes),
        "outputs": outputs,
    }


def write(
    targets: Sequence[TargetPlan],
    threads: int,
    progress: Progress,
    conclude: Conclude = lambda _temporary, _sums: {},
    extra: Sequence[Path] = (),
    summing: bool = False,
    watchers: Mapping[int, Watch] | None = None,
) -> tuple[Written, ...]:
    """Write all targets at once, or none; what they share is read once.

    `conclude` gets the unfinished name of every target and of every `extra` path before they
    are put in place, and the sums of all tensors by id; it returns what else is put in place.
    """
    with contextlib.ExitStack() as undo:
        try:
            _check_space(targets)
            paths = [*(target.path for target in targets), *extra]
            temporary = {path: files.unfinished(path, undo) for path in paths}
            sums = _stream(targets, temporary, threads, progress, undo, summing, watchers or {})
            more = conclude(temporary, sums)
            files.put_in_place({**{t.path: temporary[t.path] for t in targets}, **more})
        except OSError as error:
            raise SurgeryError(_said(error)) from error
    return tuple(Written(t.format.name, t.path, _size(t.path)) for t in targets)


def _said(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}; nothing was written"


def _stream(
    targets: Sequence[TargetPlan],
    temporary: Mapping[Path, Path],
    threads: int,
    progress: Progress,
    undo: contextlib.ExitStack,
    summing: bool,
    watchers: Mapping[int, Watch],
) -> Sums:
    """Pull all tensors through to the targets; returns their sums where they are wanted."""
    outputs = []
    for target in targets:
        output = target.format.create(target.model, temporary[target.path])
        undo.callback(output.close)
        outputs.append(output)
    streams = _streams(outputs, watchers)
    with _threads(threads) as pool:
        _prepare([stream.tensor for stream in streams], pool, progress)
        progress.phase("writing", sum(stream.tensor.nbytes for stream in streams))
        _pump(streams, pool, threads, progress.advance, summing)
        progress.phase("syncing", 0)
        finishing = [pool.submit(output.finish) for output in outputs]
        sums: Sums = {}
        if summing:
            found = pool.map(lambda stream: stream.digest.finish(stream.tensor), streams)
            sums = {id(s.tensor): hexdigest for s, hexdigest in zip(streams, found, strict=True)}
        for done in finishing:
            done.result()
    return sums


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


def _prepare(tensors: Sequence[Tensor], pool: ThreadPoolExecutor, progress: Progress) -> None:
    """Find out what must be known of whole tensors, in the order the steps need it."""
    mapped = [tensor for tensor in tensors if isinstance(tensor, Mapped)]
    reductions = dict.fromkeys(r for tensor in mapped for r in tensor.reductions())
    for reduction in reductions:
        progress.phase("ranking", 0)
        reduction.result(pool)


class _Stream:
    """A tensor, and all the places it goes to."""

    def __init__(self, tensor: Tensor, watch: Watch | None) -> None:
        self.tensor = tensor
        self.sinks: list[Sink] = []
        self.watch = watch
        self.digest = tensor.digest if isinstance(tensor, Watched) else Digest(tensor.size)


def _streams(outputs: Sequence[Output], watchers: Mapping[int, Watch]) -> list[_Stream]:
    """Each tensor once."""
    streams: dict[int, _Stream] = {}
    for output in outputs:
        for tensor, sink in output.tensors:
            new = _Stream(tensor, watchers.get(id(tensor)))
            streams.setdefault(id(tensor), new).sinks.append(sink)
    return list(streams.values())


def _pump(
    streams: Sequence[_Stream],
    pool: ThreadPoolExecutor,
    threads: int,
    advance: Callable[[int], None],
    summing: bool,
) -> None:
    """Pull every chunk through, in as many threads; the first error stops them all."""
    jobs = ((stream, span) for stream in streams for span in spans(stream.tensor.size))
    lock = threading.Lock()
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            with lock:
                job = next(jobs, None)
            if job is None:
                return
            stream, (start, end) = job
            try:
                values = stream.tensor.read(start, end)
                for sink in stream.sinks:
                    sink(start, values)
                if stream.watch is not None:
                    stream.watch(start, values)
                if summing:
                    stream.digest.update(start, values)
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


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
    return sum(file.stat().st_size for file in files)
