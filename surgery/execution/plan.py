"""The plan: what a recipe will do, from headers alone; a pure function returning frozen data."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from surgery.declared.fields import recipe_path
from surgery.errors import (
    ExpectationError,
    FormatError,
    Problem,
    RecipeError,
    SelectorError,
    SurgeryError,
    did_you_mean,
)
from surgery.execution.manifest import data_files, is_live, path_of
from surgery.execution.metrics import named
from surgery.execution.observing import Observer
from surgery.expectations.base import Found, LiveExpectation
from surgery.expectations.behaviour import Metric
from surgery.formats.base import Format, formats
from surgery.live.loading import LoadCheck
from surgery.ops.base import Op
from surgery.ops.live import Bench, Done, LiveOp
from surgery.recipe.document import Place
from surgery.recipe.language import Recipe, Step, Target
from surgery.storage import locations
from surgery.storage.states import FileState, file_states
from surgery.weights.model import Model
from surgery.weights.tensor import CHUNK
from surgery.weights.weight import Weight

BASE_MEMORY = 100 << 20
"""Bytes that Python, NumPy and h5py take before the first weight is read; measured."""

TENSORFLOW_MEMORY = 620 << 20
"""Bytes that importing TensorFlow takes; measured."""

_CHUNKS_PER_THREAD = 4
"""How many chunks a thread holds at once, at most: before, after and what lies between."""


@dataclass(frozen=True)
class StepPlan:
    """What a step matches, at most how many elements it changes, and old names with new ones.

    For a live step that has been done also what it found out, and its files by their paths.
    """

    step: Step
    matched: tuple[Weight, ...]
    changes: int | None
    observer: Observer
    renames: Mapping[str, str] = field(default_factory=dict)
    found: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[Path, Path] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<StepPlan {self.step.title}: {len(self.matched)} weights>"

    @property
    def elements(self) -> int:
        """The number of elements of what it matches."""
        return sum(weight.tensor.size for weight in self.matched)


@dataclass(frozen=True)
class TargetPlan:
    """A target, the model that goes into it, and what Keras is asked before."""

    format: Format
    path: Path
    model: Model
    check: LoadCheck | None = None

    def __repr__(self) -> str:
        return f"<TargetPlan {self.format.name} {self.path}: {self.bytes:,} bytes>"

    @property
    def bytes(self) -> int:
        """Bytes of weights, optimizer state left out."""
        return self.model.nbytes


@dataclass(frozen=True)
class Plan:
    """All that a run does, before it does it."""

    recipe: Recipe
    source: Model
    donors: tuple[Model, ...]
    model: Model
    steps: tuple[StepPlan, ...]
    data: tuple[Path, ...]
    """What steps and expectations read besides models."""
    read: tuple[Path, ...]
    """All files and folders that are read."""
    inputs: Mapping[Path, FileState]
    targets: tuple[TargetPlan, ...]
    threads: int
    needs_tensorflow: bool
    notes: tuple[str, ...]
    measured: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    """What a live model was measured for, by the number of the expectation."""

    def __repr__(self) -> str:
        counts = f"{len(self.steps)} steps, {len(self.targets)} targets"
        return f"<Plan of {self.recipe.name}: {counts}, {self.memory / 1e6:,.0f} MB of memory>"

    @property
    def is_live(self) -> bool:
        """Whether a running Keras model is needed."""
        return is_live(self.recipe)

    @property
    def files(self) -> Mapping[Path, Path]:
        """What live steps wrote, by where it is to be."""
        return {path: made for step in self.steps for path, made in step.files.items()}

    def files_of(self, path: Path) -> list[Path]:
        """The files that a path which is read stood for when the run was planned."""
        return [file for file in self.inputs if file == path or path in file.parents]

    @property
    def metrics(self) -> Mapping[str, float]:
        """What live steps that have been done measured."""
        found = ((s.step.op.name, s.step.name, s.found.get("metrics")) for s in self.steps)
        return named((op, name, metrics) for op, name, metrics in found if metrics)

    @property
    def passes(self) -> int:
        """How often the weight that is read most is read."""
        return max((weight.tensor.passes for weight in self.model.weights), default=1)

    @property
    def bytes_read(self) -> int:
        """Bytes read: each weight once, and once more for each pass that a step needs."""
        return sum(weight.tensor.passes * weight.tensor.nbytes for weight in self.model.weights)

    @property
    def bytes_written(self) -> int:
        """Bytes written to all targets."""
        return sum(target.bytes for target in self.targets)

    @property
    def memory(self) -> int:
        """The most memory the run takes, in bytes; only that of exports grows with the model."""
        itemsize = max((w.tensor.dtype.itemsize for w in self.model.weights), default=4)
        chunks = self.threads * _CHUNKS_PER_THREAD * CHUNK * itemsize
        writing = max((t.format.memory(t.model) for t in self.targets), default=0)
        copies = [s.step.op.copies for s in self.steps if isinstance(s.step.op, LiveOp)]
        live = max([*copies, 0]) * self.model.nbytes
        tensorflow = TENSORFLOW_MEMORY if self.needs_tensorflow else 0
        return BASE_MEMORY + chunks + max(writing, live) + tensorflow


def cores() -> int:
    """The cores that this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def default_threads() -> int:
    """As many threads as this process may use cores; more than four bring nothing but memory."""
    return min(4, cores())


def make_plan(recipe: Recipe, threads: int | None = None, bench: Bench | None = None) -> Plan:
    """The plan of a recipe; on a bench, its live steps are done on the way.

    Without one, it is foretold what the model will be like after them. Raises RecipeError with
    all that does not fit the model, FormatError for a broken source.
    """
    needs_tensorflow = any(source.needs_tensorflow for source in recipe.sources())
    try:
        source = recipe.load.opened(recipe.seed)
    except FormatError as error:
        message = str(error) + _elsewhere(recipe, str(error))
        raise FormatError(_at(recipe, ("load",), message).text(recipe.file)) from None
    source = source.watched()
    model = source
    problems: list[Problem] = []
    steps = []
    for step in recipe.steps:
        try:
            for path in step.op.inputs():
                locations.download(path)
            matched, renames = step.op.matched(model), step.op.renames(model)
            observer = Observer()
            done = do_step(step.op, model, bench)
            # A rename may call one weight as another one was called.
            is_changed = step.op.changes_weights
            model = observer.watch(model, done.model) if is_changed else done.model
        except SurgeryError as error:
            if bench is not None and isinstance(step.op, LiveOp):
                raise SurgeryError(_at(recipe, step.place, str(error)).text(recipe.file)) from error
            message = str(error) + _elsewhere(recipe, str(error))
            problems.append(_at(recipe, (*step.place, *_blamed(step, error)), message))
            continue
        changes = step.op.changes(matched)
        planned = StepPlan(step, matched, changes, observer, renames, done.facts, done.files)
        steps.append(planned)
    written = Path(recipe.file)
    recipes = [written] if written.is_file() else []
    donated = [donor.model for done in steps for donor in done.step.op.donors()]
    data = data_files(recipe)
    for path in data:
        locations.download(path)
    inputs = [*source.inputs, *(path for donor in donated for path in donor.inputs), *data]
    problems += _target_problems(recipe, model, [*recipes, *inputs])
    problems += _idle_steps(recipe, model, steps)
    failures: list[Problem] = []
    for each in recipe.expect:
        try:
            each.expectation.selected(model)
            if not each.expectation.needs:
                said = each.expectation.failures(model, Found())
                failures += [_at(recipe, each.place, message) for message in said]
        except SelectorError as error:
            problems.append(_at(recipe, (*each.place, "select"), str(error)))
    writes_by_tensorflow = any(t.format.needs_tensorflow(model) for t in recipe.export)
    problems += recipe_problems(recipe)
    if problems:
        raise RecipeError(recipe.file, problems)
    if failures:
        raise ExpectationError(recipe.file, failures)
    return Plan(
        recipe=recipe,
        source=source,
        model=model,
        steps=tuple(steps),
        donors=tuple(donated),
        data=tuple(data),
        read=tuple(inputs),
        inputs=file_states(inputs),
        targets=tuple(target_plan(target, model) for target in recipe.export),
        threads=threads or default_threads(),
        needs_tensorflow=needs_tensorflow or writes_by_tensorflow or is_live(recipe),
        measured=_measured(recipe, source, model, bench),
        notes=(
            *model.notes,
            *_notes(recipe, model),
        ),
    )


def do_step(op: Op, model: Model, bench: Bench | None) -> Done:
    """What an op makes of a model; a live one is done on a bench, else only foretold."""
    if bench is not None and isinstance(op, LiveOp):
        return op.run(model, bench)
    return Done(op.apply(model), {})


def _measured(
    recipe: Recipe, source: Model, model: Model, bench: Bench | None
) -> Mapping[int, Mapping[str, Any]]:
    if bench is None:
        return {}
    return {
        number: each.expectation.measure(source, model, bench.call, recipe.seed)
        for number, each in enumerate(recipe.expect)
        if isinstance(each.expectation, LiveExpectation)
    }


def recipe_problems(recipe: Recipe) -> Iterator[Problem]:
    """What is wrong with it whatever the model: its metrics, and where it writes."""
    yield from _metric_problems(recipe)
    yield from _place_problems(recipe)


def _elsewhere(recipe: Recipe, message: str) -> str:
    """Where a file that a message misses lies in the shell's folder: a path given with -p."""
    folder = Path(recipe.file).parent
    for name, value in recipe.params.items():
        if not isinstance(value, str) or os.path.normpath(value) not in message:
            continue
        if os.path.exists(value) and not recipe_path(value, folder).exists():
            from_there = os.path.relpath(value, folder)
            return (f"; a relative path starts at the recipe's folder, {folder}, and {value} lies "
                    f"in the shell's: -p {name}={from_there}")  # fmt: skip
    return ""


def _metric_problems(recipe: Recipe) -> Iterator[Problem]:
    """Expected metrics that no step finds out."""
    steps = (s for s in recipe.steps if isinstance(s.op, LiveOp) and s.op.finds_metrics)
    prefixes = list(named((step.op.name, step.name, {"": 0.0}) for step in steps))
    for each in recipe.expect:
        if not isinstance(each.expectation, Metric):
            continue
        if not prefixes:
            message = "no step finds out a metric; add evaluate, or train"
            yield _at(recipe, each.place, message)
        prefix = each.expectation.name_.rpartition("/")[0]
        if prefix and prefixes and f"{prefix}/" not in prefixes:
            hint = did_you_mean(prefix, [known.rstrip("/") for known in prefixes if known])
            message = f"no step that finds out metrics is called {prefix!r}{hint}"
            yield _at(recipe, each.place, message)


def _idle_steps(recipe: Recipe, model: Model, steps: Sequence[StepPlan]) -> Iterator[Problem]:
    """Steps that only change variables which no target holds."""
    if any(target.format.holds_states for target in recipe.export):
        return
    states = {weight.address for weight in model.states}
    for done in steps:
        if done.matched and all(weight.address in states for weight in done.matched):
            yield _at(
                recipe,
                (*done.step.place, done.step.op.name),
                "it changes variables that are no weights, which no target holds; add checkpoint "
                "or savedmodel",
            )


def _blamed(step: Step, error: SurgeryError) -> Place:
    return (step.op.name, "select") if isinstance(error, SelectorError) else (step.op.name,)


def _at(recipe: Recipe, place: Place, message: str) -> Problem:
    return recipe.document.problem(place, message)


def target_plan(target: Target, model: Model) -> TargetPlan:
    """The plan of a target for a model that its format has no problems with."""
    left, form = target.optimizer.left(model), target.format
    return TargetPlan(form, target.path, form.prepared(left), form.load_check(left))


def _only_config(recipe: Recipe) -> list[Step]:
    """The steps that edit the architecture only."""
    steps = (s for s in recipe.steps if not isinstance(s.op, LiveOp))
    return [step for step in steps if not step.op.changes_weights]


def _notes(recipe: Recipe, model: Model) -> Iterator[str]:
    for target in recipe.export:
        notes = [*target.format.notes(target.optimizer.left(model))]
        if target.format.holds_states:
            notes = [*target.optimizer.notes(model), *notes]
        yield from (f"{target.format.name}: {note}" for note in notes)
    urls = [url for target in recipe.export if (url := locations.url_of(target.path))]
    if urls and len(recipe.export) > 1:
        yield (
            f"{urls[0]}: what goes to a URL is not put in place in one step with the other "
            "targets; a run that is killed then may leave some of them new, and some old"
        )
    targets = [target.format for target in recipe.export]
    idle = _only_config(recipe)
    if idle and not targets:
        yield f"{idle[0].op.name} reaches no target, as there is none"
    elif idle and not any(target.holds_architecture for target in targets):
        names = ", ".join(dict.fromkeys(step.op.name for step in idle))
        yield (
            f"{names} reaches no target: {' and '.join(target.name for target in targets)} hold "
            "weights only"
        )


def _target_problems(recipe: Recipe, model: Model, inputs: Sequence[Path]) -> Iterator[Problem]:
    yield from _output_problems(recipe, inputs)
    for index, target in enumerate(recipe.export):
        form = target.format
        place: Place = ("export", index, form.name)
        for problem in form.refusals(target.optimizer.left(model)):
            yield _at(recipe, place, f"{form.name} cannot hold this model: {problem}")
        try:
            wrong = path_problem(target.path, form, inputs)
        except OSError as error:  # a name that is too long, a folder that cannot be looked into
            wrong = f"{target.path}: {error.strerror}"
        if wrong:
            yield _at(recipe, place, wrong)


def _place_problems(recipe: Recipe) -> Iterator[Problem]:
    """Steps that reach no target, and targets in each other's way, or in the manifest's."""
    seen: dict[Path, int] = {}
    targets = [target.format for target in recipe.export]
    changing = any(step.op.changes_weights for step in recipe.steps)
    only_architecture = _only_config(recipe) and not changing
    yield from _unseen_steps(recipe)
    if targets and only_architecture and not any(form.holds_architecture for form in targets):
        names = " and ".join(form.name for form in targets)
        yield _at(
            recipe,
            ("export",),
            f"no step reaches a target: {names} hold weights only; add keras or h5",
        )
    if path_of(recipe).is_dir():
        yield _at(recipe, ("export",), f"{path_of(recipe)}, for the manifest, is a folder")
    for index, target in enumerate(recipe.export):
        place: Place = ("export", index, target.format.name)
        resolved = target.path.resolve()
        if resolved == path_of(recipe).resolve():
            yield _at(recipe, place, f"{target.path} is where the run's manifest goes")
        if resolved in seen:
            yield _at(
                recipe, place, f"{target.path} is a target already (export[{seen[resolved]}])"
            )
        for other, number in seen.items():
            if other in resolved.parents or resolved in other.parents:
                yield _at(recipe, place, f"{target.path} and export[{number}] are one in the other")
        seen[resolved] = index


def _unseen_steps(recipe: Recipe) -> Iterator[Problem]:
    """Without a target: steps that change the model when nothing looks at it any longer."""
    if recipe.export or any(isinstance(e.expectation, LiveExpectation) for e in recipe.expect):
        return
    for step in reversed(recipe.steps):
        if isinstance(step.op, LiveOp) and not step.op.changes_weights:
            return
        message = (
            "no step behind it measures or writes the model, and there is no target; add export"
        )
        yield _at(recipe, (*step.place, step.op.name), message)


def _output_problems(recipe: Recipe, inputs: Sequence[Path]) -> Iterator[Problem]:
    """What is wrong with the files that live steps write."""
    taken = {target.path.resolve(): "a target" for target in recipe.export}
    taken[path_of(recipe).resolve()] = "where the run's manifest goes"
    for step in recipe.steps:
        if not isinstance(step.op, LiveOp):
            continue
        outputs = step.op.outputs()
        for path in step.op.writes():
            place = (*step.place, step.op.name)
            if said := taken.get(path.resolve()):
                yield _at(recipe, place, f"{path} is {said}; choose another path")
            elif read := [
                p for p in inputs if p.resolve() in (path.resolve(), *path.resolve().parents)
            ]:
                where = "is an input" if read[0].resolve() == path.resolve() else f"is in {read[0]}"
                yield _at(recipe, place, f"{path} {where}, which is never written to")
        for path, name in outputs.items():
            place = (*step.place, step.op.name, name)
            if said := taken.get(path.resolve()):
                yield _at(recipe, place, f"{path} is {said}; choose another path")
            elif wrong := path_problem(path, formats()["npz"], inputs):
                yield _at(recipe, place, wrong)
            taken[path.resolve()] = f"what {step.title} writes"


def path_problem(path: Path, form: Format, inputs: Sequence[Path]) -> str | None:
    """What is wrong with a place to write to: an input, a link to one, a folder of somebody's."""
    if said := input_problem(path, inputs):
        return said
    if path.exists() and not path.is_file() and not path.is_dir():
        return f"{path} is neither a file nor a folder; choose another path"
    if form.is_folder and path.exists() and not path.is_dir():
        return f"{path} is a file, and {form.name} writes a folder"
    if form.is_folder and path.is_dir() and any(path.iterdir()) and not form.owns(path):
        return (
            f"{path} is a folder that holds what surgery did not write; remove it or choose "
            "another path"
        )
    if form.is_folder and path.is_symlink():
        return f"{path} is a link to a folder, which is not replaced; name the folder itself"
    if not form.is_folder and path.is_dir():
        example = path / f"model{form.suffix}"
        return f"{path} is a folder, and {form.name} writes a file; for example {example}"
    return None


def input_problem(path: Path, inputs: Sequence[Path]) -> str | None:
    """Return what is wrong with a place to write to where it is an input, or in the way of one."""
    resolved = path.resolve()
    for source in inputs:
        given = source.resolve()
        if given == resolved or given in resolved.parents or resolved in given.parents:
            return (
                f"{path} is an input of this recipe, which is never written to; choose another path"
            )
        if path.exists() and source.exists() and os.path.samefile(path, source):
            return f"{path} is the same file as the input {source}; choose another path"
    return None
