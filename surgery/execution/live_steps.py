"""Carries out the steps of a plan that need a running Keras model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from surgery.errors import RecipeError, SurgeryError
from surgery.execution.plan import Plan
from surgery.execution.planning import Chain, plan_of, plan_step, predicted, step_problem
from surgery.expectations.base import LiveExpectation
from surgery.ops.live import Done, LiveOp, Runner
from surgery.recipe.language import Recipe, Step
from surgery.weights.model import Model


def with_live_steps(plan: Plan, runner: Runner) -> Plan:
    """Return the plan once its live steps are done, with what they made and measured.

    Raises SurgeryError for a step that fails, RecipeError and ExpectationError where what it
    made does not do for what comes after.
    """
    recipe, model = plan.recipe, plan.source
    steps = []
    for step in recipe.steps:
        try:
            planned, model = plan_step(step, model, partial(do_step, runner=runner))
        except SurgeryError as error:
            raise _failed(recipe, step, error) from error
        steps.append(planned)
    done = plan_of(recipe, Chain(plan.source, model, tuple(steps)), plan.threads)
    return replace(done, inputs=plan.inputs, measured=_measured(done, runner))


def do_step(step: Step, model: Model, runner: Runner) -> Done:
    """Return what a step makes of a model; a live one is run."""
    return step.op.run(model, runner) if isinstance(step.op, LiveOp) else predicted(step, model)


def _failed(recipe: Recipe, step: Step, error: SurgeryError) -> SurgeryError:
    if isinstance(step.op, LiveOp):
        return SurgeryError(recipe.document.problem(step.place, str(error)).text(recipe.file))
    return RecipeError(recipe.file, [step_problem(recipe, step, error)])


def _measured(plan: Plan, runner: Runner) -> Mapping[int, Mapping[str, Any]]:
    """Return what live expectations measure, by their number in the recipe."""
    recipe = plan.recipe
    return {
        number: each.expectation.measure(plan.source, plan.model, runner.call, recipe.seed)
        for number, each in enumerate(recipe.expect)
        if isinstance(each.expectation, LiveExpectation)
    }
