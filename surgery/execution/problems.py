"""Problems of a recipe, and of the model that it makes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from surgery.errors import Problem, did_you_mean
from surgery.execution.metrics import named
from surgery.execution.places import output_problems, path_problem, place_problems
from surgery.execution.plan import StepPlan
from surgery.expectations.base import LiveExpectation
from surgery.expectations.behaviour import Metric
from surgery.ops.live import LiveOp
from surgery.recipe.checks import Check
from surgery.recipe.document import Place
from surgery.recipe.language import Recipe, Step
from surgery.weights.model import Model
from surgery.weights.statistics import Statistics
from surgery.weights.weight import Weight


def recipe_problems(recipe: Recipe) -> Iterator[Problem]:
    """Yield problems that do not depend on the model: of metrics, steps and paths."""
    yield from _metric_problems(recipe)
    yield from _unseen_steps(recipe)
    yield from _unheld_steps(recipe)
    yield from place_problems(recipe)


def model_problems(
    recipe: Recipe, model: Model, steps: Sequence[StepPlan], inputs: Sequence[Path]
) -> Iterator[Problem]:
    """Yield why the targets cannot be written with the model, and steps that reach none."""
    yield from output_problems(recipe, inputs)
    yield from _target_problems(recipe, model, inputs)
    yield from _idle_steps(recipe, model, steps)


def only_config(recipe: Recipe) -> list[Step]:
    """Return the steps that change only the architecture."""
    steps = (step for step in recipe.steps if not isinstance(step.op, LiveOp))
    return [
        step
        for step in steps
        if not (step.op.changes_weights or step.op.changes_table or isinstance(step.op, Check))
    ]


def check_problems(
    recipe: Recipe, steps: Sequence[StepPlan], with_values: bool
) -> Iterator[Problem]:
    """Yield the failures of the checks between steps: of what needs values, or of the rest."""
    for step in steps:
        if isinstance(step.step.op, Check) and step.checked is not None:
            found = _found(step, step.step.op.watched(step.checked)) if with_values else None
            for place, message in step.step.op.failures(step.checked, found):
                yield recipe.document.problem(place, message)


def _found(step: StepPlan, watched: Sequence[Weight]) -> dict[str, Statistics]:
    """Return the statistics of watched weights, by address; one without elements has none."""
    found = {weight.address: Statistics() for weight in watched}
    return found | {address: effect.after for address, effect in step.observer.effects()}


def _unheld_steps(recipe: Recipe) -> Iterator[Problem]:
    """Yield a problem if all steps change the architecture, which no target stores."""
    targets = [target.format for target in recipe.export]
    changing = any(s.op.changes_weights or s.op.changes_table for s in recipe.steps)
    if not targets or changing or any(form.holds_architecture for form in targets):
        return
    if only_config(recipe):
        names = " and ".join(form.name for form in targets)
        message = f"no step affects a target: {names} store weights only; add keras or h5"
        yield recipe.document.problem(("export",), message)


def _target_problems(recipe: Recipe, model: Model, inputs: Sequence[Path]) -> Iterator[Problem]:
    for index, target in enumerate(recipe.export):
        form = target.format
        place: Place = ("export", index, form.name)
        for problem in form.refusals(target.optimizer.left(model)):
            yield recipe.document.problem(place, f"{form.name} cannot store this model: {problem}")
        try:
            wrong = path_problem(target.path, form, inputs)
        except OSError as error:  # a name that is too long, a folder without permission
            wrong = f"{target.path}: {error.strerror}"
        if wrong:
            yield recipe.document.problem(place, wrong)


def _metric_problems(recipe: Recipe) -> Iterator[Problem]:
    """Yield a problem for each expected metric that no step measures."""
    steps = (s for s in recipe.steps if isinstance(s.op, LiveOp) and s.op.finds_metrics)
    prefixes = list(named((step.op.name, step.name, {"": 0.0}) for step in steps))
    for each in recipe.expect:
        if not isinstance(each.expectation, Metric):
            continue
        if not prefixes:
            message = "no step measures a metric; add evaluate, or train"
            yield recipe.document.problem(each.place, message)
        prefix = each.expectation.name_.rpartition("/")[0]
        if prefix and prefixes and f"{prefix}/" not in prefixes:
            hint = did_you_mean(prefix, [known.rstrip("/") for known in prefixes if known])
            message = f"no step that measures metrics is called {prefix!r}{hint}"
            yield recipe.document.problem(each.place, message)


def _unseen_steps(recipe: Recipe) -> Iterator[Problem]:
    """Yield a problem for each step after which nothing measures or writes the model."""
    if recipe.export or any(isinstance(e.expectation, LiveExpectation) for e in recipe.expect):
        return
    for step in reversed(recipe.steps):
        if isinstance(step.op, Check):
            return
        if isinstance(step.op, LiveOp) and not step.op.changes_weights:
            return
        message = "no later step measures or writes the model, and there is no target; add export"
        yield recipe.document.problem((*step.place, step.op.name), message)


def _idle_steps(recipe: Recipe, model: Model, steps: Sequence[StepPlan]) -> Iterator[Problem]:
    """Yield a problem for each step that changes only variables that no target stores."""
    if any(target.format.holds_states for target in recipe.export):
        return
    states = {weight.address for weight in model.states}
    for done in steps:
        if done.checked is not None:
            continue
        if done.matched and all(weight.address in states for weight in done.matched):
            yield recipe.document.problem(
                (*done.step.place, done.step.op.name),
                "it changes variables that are not weights, which no target stores; add checkpoint "
                "or savedmodel",
            )
