"""Carrying out a plan: all targets are written, checked and put in place, or none."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surgery.errors import SurgeryError
from surgery.formats._base import Output
from surgery.run import checking, files, manifest
from surgery.run.observing import Effect
from surgery.run.plan import Plan, StepPlan, TargetPlan
from surgery.run.progress import Progress, Silent
from surgery.run.streaming import Sums, Watch, stream

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

    watchers = checking.watchers(plan)

    def conclude(temporary: Mapping[Path, Path], sums: Sums) -> Mapping[Path, Path]:
        checking.check_inputs(plan)
        checking.check_expectations(plan, watchers, sums)
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
            outputs = [_begun(target, temporary[target.path], undo) for target in targets]
            sums = stream(outputs, threads, progress, watchers or {}, summing)
            more = conclude(temporary, sums)
            files.put_in_place({**{t.path: temporary[t.path] for t in targets}, **more})
        except OSError as error:
            raise SurgeryError(_said(error)) from error
    return tuple(Written(t.format.name, t.path, _size(t.path)) for t in targets)


def _begun(target: TargetPlan, path: Path, undo: contextlib.ExitStack) -> Output:
    output = target.format.create(target.model, path)
    undo.callback(output.close)
    return output


def _said(error: OSError) -> str:
    where = f"{files.target_of(str(error.filename))}: " if error.filename else ""
    return f"{where}{error.strerror or error}; nothing was written"


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


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in files.files_in(path))
