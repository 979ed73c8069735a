"""Execution of a plan: all targets are written, checked and put in place, or none."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from surgery.errors import ExpectationError
from surgery.execution import checking, manifest
from surgery.execution.facts import (
    add_file_hashes,
    file_output,
    input_facts,
    output_facts,
    tree_facts,
)
from surgery.execution.live import LiveRunner, Memo, callback_files
from surgery.execution.live_steps import with_live_steps
from surgery.execution.observing import Effect
from surgery.execution.plan import Plan, StepPlan
from surgery.execution.planning import needs_values
from surgery.execution.progress import Progress, Silent
from surgery.execution.seen import as_text
from surgery.execution.streaming import Digests
from surgery.execution.writing import Written, load_checks, write
from surgery.live.code import imported_files
from surgery.storage.states import FileState, file_states
from surgery.weights.model import Model


@dataclass(frozen=True)
class Result:
    """The result of a run."""

    plan: Plan
    outputs: tuple[Written, ...]
    seconds: float
    manifest: Path | None = None

    def __repr__(self) -> str:
        paths = ", ".join(str(written.path) for written in self.outputs) or "nothing"
        return f"<Result of {self.plan.recipe.name}: wrote {paths} in {self.seconds:.1f} s>"

    @property
    def metrics(self) -> Mapping[str, float]:
        """The metrics of its steps, as `accuracy`, and `val/accuracy` for a step named val."""
        return self.plan.metrics

    def effects(self) -> Iterator[tuple[StepPlan, Effect]]:
        """Yield (step, its effect on the elements that it matched)."""
        for step in self.plan.steps:
            yield step, step.observer.total()


def execute(
    plan: Plan,
    progress: Progress | None = None,
    with_manifest: bool = True,
    hashes: bool = False,
    memo: Memo | None = None,
) -> Result:
    """Execute a plan; afterwards all targets are in place, or none.

    `hashes` adds the SHA-256 of whole files to the manifest; `memo` may return results of live
    steps from another run. Raises SurgeryError if the disk is full, or a file cannot be read or
    written, or changes while it is read.
    """
    started = time.monotonic()
    progress = progress or Silent()
    progress.say("started", source=plan.source.origin, weights=len(plan.source.weights))
    for note in plan.notes:
        progress.say("note", message=note)
    if with_manifest:
        manifest.check_free(plan.recipe)
    before = file_states(callback_files(plan.recipe))
    with contextlib.ExitStack() as stack:
        runner = (
            stack.enter_context(LiveRunner(progress, plan.threads, plan, memo))
            if plan.is_live
            else None
        )
        done = with_live_steps(plan, runner) if runner or needs_values(plan.recipe) else plan
        path = manifest.path_of(plan.recipe) if with_manifest else None
        more = partial(_more_files, done, runner, before)
        try:
            written = _written(done, progress, path, hashes, started, more)
        except ExpectationError as error:
            error.result = Result(done, (), time.monotonic() - started)
            raise
        if runner:
            runner.finish()
    result = Result(done, written, time.monotonic() - started, path)
    for number, (step, effect) in enumerate(result.effects(), 1):
        progress.say("step", number=number, step=step.step.title, changed=effect.changed)
    for each in written:
        extra = {"check": each.check} if each.check else {}
        progress.say("wrote", format=each.format, path=str(each.path), bytes=each.bytes, **extra)
    progress.say("done", seconds=round(result.seconds, 3))
    return result


def _more_files(
    plan: Plan, runner: LiveRunner | None, before: Mapping[Path, FileState], folder: Path
) -> dict[str, Any]:
    """Return the manifest's facts of data, code and callbacks' outputs.

    Data files are those at the start of the run; files added later are not covered. All output of
    callbacks counts if a training was resumed, since the killed run wrote a part of it.
    """
    resumed = any(step.found.get("resumed_from") for step in plan.steps)
    written = file_states(callback_files(plan.recipe))
    own = [file for file, state in written.items() if resumed or before.get(file) != state]
    code = {path.absolute() for path in manifest.code_files(plan.recipe)}
    code |= {*imported_files(), *(runner.imported if runner else ())}
    code |= {path for model in (plan.source, *plan.donors) for path in _built_from(model)}
    return {
        "files": [tree_facts(d, folder, plan.files_of(d)) for d in dict.fromkeys(plan.data)],
        "code": [tree_facts(path, folder, [path]) for path in sorted(code)],
        "callbacks": [tree_facts(path, folder, [path]) for path in own],
    }


def _built_from(model: Model) -> Sequence[Path]:
    return () if model.carried.code is None else model.carried.code.files


def _written(
    plan: Plan,
    progress: Progress,
    path: Path | None,
    hashes: bool,
    started: float,
    more_files: Callable[[Path], Mapping[str, Any]],
) -> tuple[Written, ...]:
    """Write all targets, the files of live steps, and the manifest if it has a path.

    `hashes` adds the SHA-256 of whole files to the manifest.
    """
    watchers = checking.watchers(plan)
    checks = load_checks(plan.targets)
    # The local files of URLs are gone after the upload, so sizes are looked up first.
    beside = [Written("npz", place, made.stat().st_size) for place, made in plan.files.items()]

    def conclude(temporary: Mapping[Path, Path], digests: Digests) -> Mapping[Path, Path]:
        for step in plan.steps:
            step.observer.finish()
        checking.check_inputs(plan)
        checking.check_expectations(plan, watchers, digests)
        for place, made in plan.files.items():
            shutil.move(made, temporary[place])
        more = {place: temporary[place] for place in plan.files}
        if path is None:
            return more
        facts = {
            **_manifest(plan, temporary, digests, path.parent, hashes, checks),
            **more_files(path.parent),
            "seconds": round(time.monotonic() - started, 3),
        }
        checking.check_unchanged(plan)
        temporary[path].write_text(as_text(facts), encoding="utf-8")
        return {**more, path: temporary[path]}

    written = write(
        plan.targets,
        plan.threads,
        progress,
        conclude,
        extra=(*plan.files, *([path] if path else [])),
        summing=bool(path) or any(e.expectation.needs == "changed" for e in plan.recipe.expect),
        watchers=watchers.by_tensor(plan.model),
        # Without a target, the weights are still read, for effects; and a target may store another
        # tensor than the one that an expectation is about, or none.
        seen=[
            *(() if plan.targets else (weight.tensor for weight in plan.model.weights)),
            *(plan.model[address].tensor for address in sorted(watchers.addresses)),
        ],
    )
    written = tuple(replace(each, check=checks.get(each.path, "")) for each in written)
    return (*written, *beside)


def _manifest(
    plan: Plan,
    temporary: Mapping[Path, Path],
    digests: Digests,
    folder: Path,
    hashes: bool,
    checks: Mapping[Path, str],
) -> dict[str, Any]:
    seen_ns = time.time_ns()
    sources = plan.recipe.sources()
    models = zip((plan.source, *plan.donors), sources, strict=True)
    outputs = []
    for target in plan.targets:
        new = temporary[target.path]
        facts = output_facts(target.format, new, target.path, target.model, digests, folder)
        if target.path in checks:
            facts["check"] = checks[target.path]
        if hashes and not target.format.is_foreign(target.model):
            add_file_hashes(facts, new)
        outputs.append(facts)
    outputs += [file_output("npz", temporary[p], p, folder) for p in plan.files]
    steps = []
    for step in plan.steps:
        effect = step.observer.total()
        steps.append(
            {
                "op": step.step.op.name,
                "name": step.step.name,
                "matched": [weight.address for weight in step.matched],
                "elements": effect.before.count,
                "changed": effect.changed,
                "before": effect.before.as_dict(),
                "after": effect.after.as_dict(),
                **({"sizes": dict(step.sizes)} if step.sizes else {}),
                **({"found": step.found} if step.found else {}),
            }
        )
    return {
        **manifest.head(plan.recipe),
        "seen_ns": seen_ns,
        "threads": plan.threads,
        "sparsity": _sparsity(plan),
        "metrics": dict(plan.metrics),
        "inputs": [input_facts(model, source, folder) for model, source in models],
        "steps": steps,
        "notes": list(plan.notes),
        "outputs": outputs,
    }


def _sparsity(plan: Plan) -> float | None:
    """Return the share of zeros in all weights that steps matched, after the last such step."""
    after = {}
    for step in plan.steps:
        for address, effect in step.observer.effects() if step.checked is None else ():
            after[address] = effect.after
    elements = sum(each.count for each in after.values())
    return sum(each.zeros for each in after.values()) / elements if elements else None
