"""Scores of channels, computed from the values of weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Literal

import numpy as np

from surgery.errors import SelectorError
from surgery.structure import Cut, Families
from surgery.structure.families import Family
from surgery.weights.channels import Channels, norm_passes, norms
from surgery.weights.model import Model
from surgery.weights.random import Randomness, generator
from surgery.weights.tensor import Array, Reduction

Criterion = Literal["l1", "l2", "bn_scale", "random"]


class Scores:
    """Scores of the classes of some families; a higher one is kept longer."""

    def __init__(self, model: Model, families: Families, by: Criterion, draws: Randomness) -> None:
        self.model, self.families, self.by, self.draws = model, families, by, draws

    def check(self, chosen: Sequence[Family]) -> None:
        """Raise SelectorError for a family of which the criterion says nothing."""
        if self.by != "bn_scale":
            return
        scaled = self._classes_of(self._cuts(chosen))
        for family in chosen:
            if family.free.size and not scaled[family.free].all():
                raise SelectorError(
                    f"{family} has no BatchNormalization with a gamma, and by is bn_scale; "
                    "narrow select, or take l1"
                )

    def reduction(self, chosen: Sequence[Family]) -> Reduction[Array]:
        """Return the score of each class, for which the weights are read once."""
        if self.by == "random":
            return Reduction(lambda _: self._drawn(chosen), 0)
        cuts = self._cuts(chosen)
        passes = max((self._passes(cut) for cut in cuts), default=0)
        return Reduction(lambda pool: self._summed(cuts, pool), passes)

    def _passes(self, cut: Cut) -> int:
        tensor = self.model.by_address[cut.address].tensor
        return tensor.passes * norm_passes(tensor, "l1")

    def _cuts(self, chosen: Sequence[Family]) -> list[Cut]:
        """Return the axes of variables that tell of the channels of families."""
        role = "scale" if self.by == "bn_scale" else "out"
        member = np.zeros(self.families.root.size, bool)
        for family in chosen:
            member[family.free] = True
        return [
            cut
            for cut in self.families.labels.cuts
            if cut.role == role
            and cut.address in self.model.by_address
            and member[self.families.root[cut.labels]].any()
        ]

    def _classes_of(self, cuts: Sequence[Cut]) -> Array:
        found = np.zeros(self.families.root.size, bool)
        for cut in cuts:
            found[self.families.root[cut.labels]] = True
        return found

    def _summed(self, cuts: Sequence[Cut], pool: Executor | None) -> Array:
        total = np.zeros(self.families.root.size)
        for cut in cuts:
            tensor = self.model.by_address[cut.address].tensor
            inner = math.prod(tensor.shape[cut.axis + 1 :])
            channels = Channels(tensor.shape[cut.axis], inner)
            found = norms([tensor], [channels], "l2" if self.by == "l2" else "l1", pool)
            with np.errstate(over="ignore"):
                values = np.ldexp(found.values, found.exponents)
                values = values**2 if self.by == "l2" else values
            np.add.at(total, self.families.root[cut.labels], values)
        return total

    def _drawn(self, chosen: Sequence[Family]) -> Array:
        total = np.zeros(self.families.root.size)
        for family in chosen:
            random = generator(self.draws.seed, self.draws.step, *family.makers)
            total[family.free] = random.random(family.free.size)
        return total
