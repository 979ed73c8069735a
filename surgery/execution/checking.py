"""The checks between writing a run's targets and putting them in place."""

from __future__ import annotations

from collections.abc import Mapping

from surgery.errors import ExpectationError, SurgeryError
from surgery.execution.plan import Plan
from surgery.execution.problems import check_problems
from surgery.execution.streaming import Digests
from surgery.expectations.base import Findings
from surgery.storage.states import file_state
from surgery.weights.digest import HashingTensor
from surgery.weights.statistics import Statistics, of_chunk
from surgery.weights.tensor import Array, Mapped
from surgery.weights.weight import Weight


def check_inputs(plan: Plan) -> None:
    """Raise SurgeryError if an input changed during the run, or fails its own checksums."""
    check_unchanged(plan)
    for model in (plan.source, *plan.donors):
        model.check_read()


def check_unchanged(plan: Plan) -> None:
    """Raise SurgeryError if an input file changed since the run was planned."""
    for path, state in plan.inputs.items():
        if not path.exists() or file_state(path) != state:
            raise SurgeryError(f"{path} was changed while it was read; nothing was written")


class Watcher:
    """The statistics of a tensor whose chunks arrive in any order."""

    def __init__(self) -> None:
        self._parts: dict[int, Statistics] = {}

    def __call__(self, start: int, values: Array) -> None:
        self._parts[start] = of_chunk(values)

    def total(self) -> Statistics:
        """Return the statistics of all chunks, combined in order."""
        return sum((part for _, part in sorted(self._parts.items())), Statistics())


def watchers(plan: Plan) -> dict[str, Watcher]:
    """Return a watcher for every weight whose statistics an expectation needs, by address."""
    needing = (e.expectation for e in plan.recipe.expect if e.expectation.needs == "statistics")
    return {w.address: Watcher() for each in needing for w in each.selected(plan.model)}


def check_expectations(plan: Plan, watchers: Mapping[str, Watcher], digests: Digests) -> None:
    """Raise ExpectationError with all failures."""
    changed = {}
    for each in plan.recipe.expect:
        if each.expectation.needs == "changed":
            for weight in each.expectation.selected(plan.model):
                changed[weight.address] = _has_changed(plan, weight, digests)
    statistics = {address: watcher.total() for address, watcher in watchers.items()}
    failures = [*check_problems(plan.recipe, plan.steps, with_values=True)]
    failures += [
        plan.recipe.document.problem(each.place, message)
        for number, each in enumerate(plan.recipe.expect)
        for message in each.expectation.failures(
            plan.model,
            Findings(statistics, changed, plan.metrics, plan.measured.get(number, {})),
        )
    ]
    if failures:
        raise ExpectationError(plan.recipe.file, failures)


def _has_changed(plan: Plan, weight: Weight, digests: Digests) -> bool:
    """Return whether a weight differs from the same weight of the loaded model."""
    new = old = weight.tensor
    while isinstance(old, Mapped):
        old = old.before
    if not isinstance(old, HashingTensor) or (old.shape, old.dtype) != (new.shape, new.dtype):
        return True
    return new is not old and old.hexdigest() != digests.get(id(new))
