"""Execution of a plan's steps that need a live Keras model."""

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
from surgery.ops.structure import VerifiedOp
from surgery.recipe.language import Recipe, Step
from surgery.weights.model import Model


def with_live_steps(plan: Plan, runner: Runner | None) -> Plan:
    """Run a plan's live steps, and return the plan with their results and measurements.

    Steps whose result depends on values of weights read them. Without a runner there is no live
    step, nor a live expectation.

    Raises SurgeryError if a step fails, RecipeError and ExpectationError if its result does not fit
    the rest of the recipe.
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
    measured = _measured(done, runner) if runner else {}
    return replace(done, inputs=plan.inputs, measured=measured)


def do_step(step: Step, model: Model, runner: Runner | None) -> Done:
    """Apply a step to a model; a live step is run."""
    if runner is not None and isinstance(step.op, LiveOp):
        return step.op.run(model, runner)
    done = predicted(replace(step, op=step.op.resolved(model)), model)
    if runner is not None and isinstance(step.op, VerifiedOp) and step.op.needs_live:
        return replace(done, facts=step.op.verified(model, done.model, runner))
    return done


def _failed(recipe: Recipe, step: Step, error: SurgeryError) -> SurgeryError:
    if step.op.needs_live:
        return SurgeryError(recipe.document.problem(step.place, str(error)).text(recipe.file))
    return RecipeError(recipe.file, [step_problem(recipe, step, error)])


def _measured(plan: Plan, runner: Runner) -> Mapping[int, Mapping[str, Any]]:
    """Return the measurements of live expectations, by their number in the recipe."""
    recipe = plan.recipe
    return {
        number: each.expectation.measure(plan.source, plan.model, runner.call, recipe.seed)
        for number, each in enumerate(recipe.expect)
        if isinstance(each.expectation, LiveExpectation)
    }
