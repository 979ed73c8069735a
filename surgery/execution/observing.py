"""The effect of each step on each weight, observed while the weights are read."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from surgery.weights.model import Model
from surgery.weights.statistics import Statistics, of_chunk
from surgery.weights.tensor import Array, Observed, Tensor, chunk_ranges
from surgery.weights.weight import Weight


@dataclass(frozen=True)
class Effect:
    """The effect of a step: the number of changed elements, and statistics before and after."""

    changed: int = 0
    before: Statistics = field(default_factory=Statistics)
    after: Statistics = field(default_factory=Statistics)

    def __add__(self, other: Effect) -> Effect:
        return Effect(
            self.changed + other.changed, self.before + other.before, self.after + other.after
        )


class Observer:
    """An observer of one step's effect, chunk by chunk.

    A chunk may pass several times (to be ranked, to be written), but counts once.
    """

    def __init__(self) -> None:
        self._effects: dict[tuple[str, int], Effect] = {}
        self._tensors: dict[str, Tensor] = {}
        self._lock = threading.Lock()

    def watch(self, before: Model, after: Model) -> Model:
        """Return the model after the step, with every changed tensor observed."""
        changed = [
            weight.with_tensor(self._watched(weight.address, old.tensor, weight.tensor))
            for weight in (*after.weights, *after.states)
            if (old := before.by_address.get(weight.address)) is not None
            and weight.tensor is not old.tensor
            and weight.tensor.size == old.tensor.size
        ]
        return after.with_weights(changed)

    def look(self, model: Model, weights: Iterable[Weight]) -> Model:
        """Return the model with these weights observed as they are."""
        return model.with_weights(
            weight.with_tensor(self._watched(weight.address, weight.tensor, weight.tensor))
            for weight in weights
        )

    def _watched(self, address: str, old: Tensor, new: Tensor) -> Observed:
        def observe(start: int, before: Array, after: Array) -> None:
            key = (address, start)
            if key not in self._effects:
                effect = _effect(before, after)
                with self._lock:
                    self._effects[key] = effect

        observed = self._tensors[address] = Observed(old, new, observe)
        return observed

    def finish(self) -> None:
        """Read the chunks not observed yet, as later steps may have read other ranges."""
        for address, tensor in self._tensors.items():
            for start, stop in chunk_ranges(tensor.size):
                if (address, start) not in self._effects:
                    tensor.read(start, stop)

    def effects(self) -> Iterator[tuple[str, Effect]]:
        """Yield (address, effect on that weight)."""
        totals: dict[str, Effect] = {}
        for (address, _), effect in sorted(self._effects.items()):
            totals[address] = totals[address] + effect if address in totals else effect
        yield from totals.items()

    def total(self) -> Effect:
        """Return the effect on all weights together."""
        return sum((effect for _, effect in self.effects()), Effect())


def _effect(before: Array, after: Array) -> Effect:
    old = of_chunk(before)
    if after is before:
        return Effect(0, old, old)
    new = of_chunk(after)
    changed = int(np.count_nonzero(before != after))
    if old.nonfinite and new.nonfinite:  # NaN that stays NaN does not count
        changed -= int(np.count_nonzero((before != before) & (after != after)))  # noqa: PLR0124
    return Effect(changed, old, new)
