"""Planning of a run from file headers: open the source, chain the steps, check, judge."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from surgery.declared.fields import recipe_path
from surgery.errors import (
    ExpectationError,
    FormatError,
    Problem,
    RecipeError,
    SelectorError,
    SurgeryError,
)
from surgery.execution.manifest import data_files, is_live
from surgery.execution.notes import notes
from surgery.execution.observing import Observer
from surgery.execution.plan import Plan, StepPlan, default_threads, target_plan
from surgery.execution.problems import check_problems, model_problems, recipe_problems
from surgery.execution.sizes import sizes_changed
from surgery.expectations.base import Findings
from surgery.formats.upgrading import as_keras3
from surgery.ops.live import Done, LiveOp
from surgery.ops.structure import StructureOp
from surgery.recipe.checks import Check
from surgery.recipe.language import Recipe, Step
from surgery.storage import locations
from surgery.storage.states import file_states
from surgery.weights.model import Model


@dataclass(frozen=True)
class Chain:
    """The source, the steps' plans, and the model after the last step."""

    source: Model
    model: Model
    steps: tuple[StepPlan, ...]


def make_plan(recipe: Recipe, threads: int | None = None) -> Plan:
    """Plan a recipe; the results of its live steps are predicted.

    Raises RecipeError with all that does not fit the model, ExpectationError if an expectation
    that needs no values fails, and FormatError for a damaged source.
    """
    source = _opened(recipe)
    chain, problems = _chained(recipe, source)
    is_known = not needs_values(recipe)
    return plan_of(recipe, chain, threads or default_threads(), problems, is_known)


def needs_values(recipe: Recipe) -> bool:
    """Return whether shapes after a step depend on values of weights, which no plan reads."""
    return any(step.op.needs_values for step in recipe.steps)


def unknown_before_values(recipe: Recipe) -> Step | None:
    """Return the training before a step whose shapes depend on values; None if there is none."""
    trained = None
    for step in recipe.steps:
        if step.op.needs_values and trained is not None:
            return trained
        if isinstance(step.op, LiveOp) and step.op.changes_weights:
            trained = step
    return None


def plan_of(
    recipe: Recipe,
    chain: Chain,
    threads: int,
    problems: Sequence[Problem] = (),
    is_known: bool = True,
) -> Plan:
    """Make the plan of a chain of steps; raises RecipeError or ExpectationError.

    Unless the result of the steps is known, no expectation is judged yet.
    """
    problems = [*problems, *_unopened(recipe)]
    donors = [donor.model for donor in recipe.donors()] if not problems else []
    data = data_files(recipe)
    for path in data:
        locations.download(path)
    read = [*chain.source.inputs, *(path for donor in donors for path in donor.inputs), *data]
    _check(recipe, chain, read, problems)
    if is_known:
        _judge(recipe, chain)
    return Plan(
        recipe=recipe,
        source=chain.source,
        model=chain.model,
        steps=chain.steps,
        donors=tuple(donors),
        data=tuple(data),
        read=tuple(read),
        inputs=file_states(read),
        targets=tuple(target_plan(target, chain.model) for target in recipe.export),
        threads=threads,
        needs_tensorflow=_needs_tensorflow(recipe, chain.model),
        notes=tuple(notes(recipe, chain.model)),
    )


def _opened(recipe: Recipe) -> Model:
    """Open the source, whose weights are hashed while they are read; raises FormatError."""
    try:
        return recipe.load.opened(recipe.seed).hashed()
    except FormatError as error:
        message = str(error) + _elsewhere(recipe, str(error))
        problem = recipe.document.problem(("load",), message)
        raise FormatError(problem.text(recipe.file)) from None


def _chained(recipe: Recipe, source: Model) -> tuple[Chain, list[Problem]]:
    """Chain all steps that fit their models, and return the problems of the others."""
    model, steps = source, []
    problems: list[Problem] = []
    for step in recipe.steps:
        try:
            planned, model = plan_step(step, model, predicted)
        except SurgeryError as error:
            problems.append(step_problem(recipe, step, error))
        else:
            steps.append(planned)
    return Chain(source, model, tuple(steps)), problems


def predicted(step: Step, model: Model) -> Done:
    """Apply a step to a model, lazily; the result of a live step is a prediction."""
    return Done(step.op.apply(model), {})


def plan_step(
    step: Step, model: Model, do: Callable[[Step, Model], Done]
) -> tuple[StepPlan, Model]:
    """Return (plan of a step, model after it), which `do` makes."""
    op = step.op
    for path in op.inputs():
        locations.download(path)
    if op.needs_keras3:
        model = as_keras3(model)
    matched, renames = op.matched(model), op.renames(model)
    observer = Observer()
    done = do(step, model)
    # A rename may give a weight the former address of another.
    after = observer.watch(model, done.model) if op.changes_weights else done.model
    if isinstance(op, Check):
        after = observer.look(model, op.watched(model))
    changes = op.changes(matched)
    sizes = sizes_changed(model, after) if isinstance(op, StructureOp) else {}
    checked = model if isinstance(op, Check) else None
    planned = StepPlan(
        step, matched, changes, observer, renames, sizes, done.facts, done.files, checked
    )
    return planned, after


def step_problem(recipe: Recipe, step: Step, error: SurgeryError) -> Problem:
    """Return the problem of a step that does not fit its model."""
    message = str(error) + _elsewhere(recipe, str(error))
    is_selector = isinstance(error, SelectorError) and step.op.selector_key
    key = (step.op.selector_key,) if is_selector else ()
    return recipe.document.problem((*step.place, step.op.name, *key), message)


def _elsewhere(recipe: Recipe, message: str) -> str:
    """Return a hint if a missing file exists relative to the shell's folder, from -p."""
    folder = Path(recipe.file).parent
    for name, value in recipe.params.items():
        if not isinstance(value, str) or os.path.normpath(value) not in message:
            continue
        if os.path.exists(value) and not recipe_path(value, folder).exists():
            from_there = os.path.relpath(value, folder)
            return (f"; relative paths start at the recipe's folder, {folder}, and {value} is "
                    f"in the shell's: write -p {name}={from_there}")  # fmt: skip
    return ""


def _unopened(recipe: Recipe) -> Iterator[Problem]:
    """Yield a problem for each model of an expectation that cannot be opened."""
    for each in recipe.expect:
        for donor in each.expectation.donors():
            try:
                donor.model  # noqa: B018 - opens it
            except SurgeryError as error:
                message = str(error) + _elsewhere(recipe, str(error))
                yield recipe.document.problem((*each.place, "to"), message)


def _check(recipe: Recipe, chain: Chain, read: Sequence[Path], problems: Sequence[Problem]) -> None:
    """Raise RecipeError for the given problems, and those of paths, the final model and selectors.

    `read` are the files that the recipe reads, which no target may overwrite.
    """
    written = Path(recipe.file)
    inputs = [written, *read] if written.is_file() else read
    found = [
        *problems,
        *model_problems(recipe, chain.model, chain.steps, inputs),
        *recipe_problems(recipe),
    ]
    for each in recipe.expect:
        try:
            each.expectation.selected(chain.model)
        except SelectorError as error:
            found.append(recipe.document.problem((*each.place, "select"), str(error)))
    if found:
        raise RecipeError(recipe.file, found)


def _judge(recipe: Recipe, chain: Chain) -> None:
    """Raise ExpectationError if a check or expectation that needs no values fails."""
    failures = [*check_problems(recipe, chain.steps, with_values=False)]
    failures += [
        recipe.document.problem(each.place, message)
        for each in recipe.expect
        if not each.expectation.needs
        for message in each.expectation.failures(chain.model, Findings())
    ]
    if failures:
        raise ExpectationError(recipe.file, failures)


def _needs_tensorflow(recipe: Recipe, model: Model) -> bool:
    return (
        is_live(recipe)
        or any(source.needs_tensorflow for source in recipe.sources())
        or any(target.format.needs_tensorflow(model) for target in recipe.export)
    )
