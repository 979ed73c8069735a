"""The checks between writing a run's targets and putting them in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from surgery.errors import ExpectationError, SurgeryError
from surgery.execution.plan import Plan
from surgery.execution.problems import check_problems
from surgery.execution.streaming import Digests, Watch
from surgery.expectations.base import Findings
from surgery.storage.states import file_state
from surgery.weights.digest import HashingTensor
from surgery.weights.model import Model
from surgery.weights.statistics import Statistics, of_chunk
from surgery.weights.tensor import Array, Mapped, Tensor
from surgery.weights.weight import Weight

_BLOCK = 1 << 16


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


class Difference:
    """The largest difference of a tensor, whose chunks arrive in any order, from another one."""

    def __init__(self, other: Tensor) -> None:
        self._other = other
        self._parts: list[float] = []

    def __call__(self, start: int, values: Array) -> None:
        other = self._other.read(start, start + values.size)
        for low in range(0, values.size, _BLOCK):  # whose float64 copies are small
            block = slice(low, low + _BLOCK)
            self._parts.append(_largest_difference(values[block], other[block]))

    def total(self) -> float:
        """Return the largest difference in all chunks."""
        return max(self._parts, default=0.0)


def _largest_difference(values: Array, other: Array) -> float:
    """Return how far elements are apart at most; NaN is 0 from NaN and infinitely far from all."""
    if values.dtype == other.dtype and np.array_equal(values, other):
        return 0.0
    if values.dtype == other.dtype and values.dtype.kind in "iu":
        most, least = np.maximum(values, other), np.minimum(values, other)
        # Differences of integers wrap around, so as unsigned ones they are exact.
        return float(np.max(most.astype(np.uint64) - least.astype(np.uint64), initial=0))
    wide = np.complex128 if "c" in (values.dtype.kind, other.dtype.kind) else np.float64
    a, b = values.astype(wide), other.astype(wide)
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    return float(np.max(np.where(np.isnan(apart), np.inf, apart), initial=0.0))


@dataclass(frozen=True)
class Watchers:
    """The watchers of the chunks of weights, for expectations, by address.

    `differences` has a mapping for each expectation, by its number.
    """

    statistics: Mapping[str, Watcher]
    differences: Mapping[int, Mapping[str, Difference]]

    @property
    def addresses(self) -> set[str]:
        """The addresses of all watched weights."""
        return {*self.statistics, *(a for each in self.differences.values() for a in each)}

    def by_tensor(self, model: Model) -> Mapping[int, Watch]:
        """Return for each watched tensor, by `id`, a function that shows a chunk to all."""
        found: dict[int, list[Watch]] = {}
        groups: list[Mapping[str, Watch]] = [self.statistics, *self.differences.values()]
        for watching in groups:
            for address, watch in watching.items():
                found.setdefault(id(model[address].tensor), []).append(watch)
        return {key: partial(_show, each) for key, each in found.items()}


def _show(watching: Sequence[Watch], start: int, values: Array) -> None:
    for watch in watching:
        watch(start, values)


def watchers(plan: Plan) -> Watchers:
    """Return the watchers that the plan's expectations need."""
    needing = (e.expectation for e in plan.recipe.expect if e.expectation.needs == "statistics")
    statistics = {w.address: Watcher() for each in needing for w in each.selected(plan.model)}
    differences = {
        number: {a: Difference(other) for a, other in each.expectation.compared(plan.model).items()}
        for number, each in enumerate(plan.recipe.expect)
    }
    return Watchers(statistics, differences)


def check_expectations(plan: Plan, watchers: Watchers, digests: Digests) -> None:
    """Raise ExpectationError with all failures."""
    changed = {}
    for each in plan.recipe.expect:
        if each.expectation.needs == "changed":
            for weight in each.expectation.selected(plan.model):
                changed[weight.address] = _has_changed(plan, weight, digests)
    statistics = {address: each.total() for address, each in watchers.statistics.items()}
    differences = {
        number: {address: each.total() for address, each in found.items()}
        for number, found in watchers.differences.items()
    }
    failures = [*check_problems(plan.recipe, plan.steps, with_values=True)]
    failures += [
        plan.recipe.document.problem(each.place, message)
        for number, each in enumerate(plan.recipe.expect)
        for message in each.expectation.failures(
            plan.model,
            Findings(
                statistics,
                changed,
                plan.metrics,
                differences[number],
                plan.measured.get(number, {}),
            ),
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
