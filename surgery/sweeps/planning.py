"""Planning of a sweep: every run is planned, and conflicts are found, before the first begins."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from surgery.errors import Problem, RecipeError
from surgery.execution import manifest
from surgery.execution.metrics import objective_problems
from surgery.execution.planning import make_plan
from surgery.ops.live import LiveOp
from surgery.recipe.document import Place
from surgery.recipe.language import Recipe
from surgery.recipe.matrix import Values, grouped, run_id
from surgery.recipe.matrix import shown as values_shown
from surgery.recipe.reading import RecipeFile
from surgery.sweeps.shared_steps import SharedSteps


@dataclass(frozen=True)
class PlannedRun:
    """A run with its plan's figures; `head` names its first live step if others share it."""

    recipe: Recipe
    memory: int
    bytes_read: int
    bytes_written: int
    head: str | None

    @property
    def index(self) -> int:
        """The number of the run; 0 without a matrix."""
        return self.recipe.index or 0

    @property
    def values(self) -> Values:
        """The values of the run in the matrix."""
        return self.recipe.values

    @cached_property
    def id(self) -> str:
        """The id of the run in the sweep's folder."""
        return run_id(self.values)


@dataclass(frozen=True)
class SweepPlan:
    """All runs of a sweep."""

    file: RecipeFile
    runs: Sequence[PlannedRun]
    notes: Sequence[str]

    @property
    def memory(self) -> int:
        """The most memory of a single run, in bytes."""
        return max(run.memory for run in self.runs)

    @property
    def shared(self) -> int:
        """The number of first live steps that several runs share."""
        return len({run.head for run in self.runs if run.head})


def plan_sweep(
    file: RecipeFile, threads: int, advance: Callable[[], None] = lambda: None
) -> SweepPlan:
    """Plan every run; raises RecipeError with all problems, and their runs."""
    if unclear := objective_problems(file):
        raise RecipeError(file.file, unclear)
    recipes = file.all()
    shared = SharedSteps(file)
    runs, problems = [], {}
    notes: dict[str, None] = {}
    for number, recipe in enumerate(recipes):
        try:
            plan = make_plan(recipe, threads)
        except RecipeError as error:
            problems[number] = error.problems
            continue
        notes.update(dict.fromkeys(plan.notes))
        runs.append(
            PlannedRun(
                recipe,
                plan.memory,
                plan.bytes_read,
                plan.bytes_written,
                shared.first(recipe, threads),
            )
        )
        advance()
    if problems:
        raise RecipeError(file.file, grouped(problems, file.runs or ({},)))
    if collisions := list(_collisions(recipes)):
        raise RecipeError(file.file, collisions)
    return SweepPlan(file, runs, list(notes))


def _outputs(recipe: Recipe) -> Iterator[tuple[Path, Place]]:
    """Yield (path that a run writes to, its place in the recipe)."""
    for number, target in enumerate(recipe.export):
        yield target.path, ("export", number, target.format.name)
    yield manifest.path_of(recipe), ("export", 0)
    for step in recipe.steps:
        if isinstance(step.op, LiveOp):
            for path in [*step.op.outputs(), *step.op.writes()]:
                yield path, (*step.place, step.op.name)


def _inputs(recipe: Recipe) -> Iterator[Path]:
    yield from recipe.load.opened(recipe.seed).inputs
    yield from manifest.data_files(recipe)
    for donor in recipe.donors():
        yield from donor.model.inputs


def _collisions(recipes: Sequence[Recipe]) -> Iterator[Problem]:
    """Yield runs that write to the same path, inside another's path, or to another's input."""
    written: dict[str, tuple[Recipe, Place]] = {}
    inside: dict[str, tuple[Recipe, str]] = {}
    seen: set[tuple[Place, str]] = set()

    def problem(recipe: Recipe, other: Recipe, place: Place, conflict: str) -> Iterator[Problem]:
        if (place, conflict[:20]) not in seen:  # report the first pair of runs only
            seen.add((place, conflict[:20]))
            which = f"runs {other.index} ({values_shown(other.values)}) and {recipe.index} " \
                    f"({values_shown(recipe.values)})"  # fmt: skip
            advice = f"put {_differing(other.values, recipe.values)} into the path"
            yield recipe.document.problem(place, f"{which} {conflict}; {advice}")

    for recipe in recipes:
        for path, place in _outputs(recipe):
            name = os.path.realpath(path)
            if name in written and written[name][0] is not recipe:
                yield from problem(recipe, written[name][0], place, f"would both write {path}")
            if name in inside and inside[name][0] is not recipe:
                other, inner = inside[name]
                conflict = f"would write one into the other's: {inner} is in {path}"
                yield from problem(recipe, other, place, conflict)
            for parent in Path(name).parents:
                if str(parent) in written and written[str(parent)][0] is not recipe:
                    other = written[str(parent)][0]
                    conflict = f"would write one into the other's: {path} is in {parent}"
                    yield from problem(recipe, other, place, conflict)
            written.setdefault(name, (recipe, place))
            for parent in Path(name).parents:
                inside.setdefault(str(parent), (recipe, str(path)))
    for recipe in recipes:
        for path in _inputs(recipe):
            name = os.path.realpath(path)
            if name in written and written[name][0] is not recipe:
                other, place = written[name]
                conflict = f"depend on each other: one writes {path}, which the other reads"
                yield from problem(recipe, other, place, conflict)


def _differing(a: Values, b: Values) -> str:
    """Return the parameters in which two runs differ, as "${a} or ${b}"."""
    names = [name for name in {**a, **b} if a.get(name) != b.get(name)]
    return " or ".join(f"${{{name}}}" for name in names)
