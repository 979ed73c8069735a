"""What each step did to each weight, noted while the bytes stream by."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from surgery.weights.model import Model
from surgery.weights.statistics import Statistics, of_chunk
from surgery.weights.tensor import Array, Mapped, Observed


@dataclass(frozen=True)
class Effect:
    """What a step did: elements changed, and the statistics before and after."""

    changed: int = 0
    before: Statistics = field(default_factory=Statistics)
    after: Statistics = field(default_factory=Statistics)

    def __add__(self, other: Effect) -> Effect:
        return Effect(
            self.changed + other.changed, self.before + other.before, self.after + other.after
        )


class Observer:
    """Notes the effect of one step, chunk by chunk.

    A chunk may pass more than once (to be ranked, to be written); it counts once.
    """

    def __init__(self) -> None:
        self._effects: dict[tuple[str, int], Effect] = {}
        self._lock = threading.Lock()

    def watch(self, before: Model, after: Model) -> Model:
        """The model after the step, with every tensor that the step maps observed."""
        changed = [
            replace(weight, tensor=self._watched(weight.address, weight.tensor))
            for weight in after.weights
            if isinstance(weight.tensor, Mapped)
            and (old := before.by_address.get(weight.address)) is not None
            and weight.tensor.before is old.tensor
        ]
        return after.with_weights(changed)

    def _watched(self, address: str, mapped: Mapped) -> Observed:
        def observe(start: int, before: Array, after: Array) -> None:
            key = (address, start)
            if key not in self._effects:
                effect = _effect(before, after)
                with self._lock:
                    self._effects[key] = effect

        return Observed(mapped, observe)

    def effects(self) -> Iterator[tuple[str, Effect]]:
        """The effect on each weight, by address."""
        totals: dict[str, Effect] = {}
        for (address, _), effect in sorted(self._effects.items()):
            totals[address] = totals[address] + effect if address in totals else effect
        yield from totals.items()

    def total(self) -> Effect:
        """The effect on all weights together."""
        return sum((effect for _, effect in self.effects()), Effect())


def _effect(before: Array, after: Array) -> Effect:
    old = of_chunk(before)
    if after is before:
        return Effect(0, old, old)
    new = of_chunk(after)
    changed = int(np.count_nonzero(before != after))
    if old.nonfinite and new.nonfinite:  # NaN that stays NaN is no change
        changed -= int(np.count_nonzero((before != before) & (after != after)))  # noqa: PLR0124
    return Effect(changed, old, new)
