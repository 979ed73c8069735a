"""Which families of channels take part in a removal, and in which order they lose channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from surgery.ops._channel_cuts import Removal
from surgery.ops._channel_scores import Scores
from surgery.structure import Families, Trace
from surgery.structure.families import Family
from surgery.weights.matching import names
from surgery.weights.tensor import Array, Reduction
from surgery.weights.weight import prefixes

MOST_NAMED = 5
"""How many families or reasons a note lists."""


@dataclass(frozen=True)
class Cutting:
    """The channels of a model, and the families that take part."""

    trace: Trace
    families: Families
    chosen: Sequence[Family]
    scores: Scores

    def makers(self) -> set[str]:
        return {maker for family in self.chosen for maker in family.makers}

    def made_by(self, maker: str) -> Array:
        """Return the labels that a layer, or the one inside it, makes."""
        return next(
            labels
            for (address, name), labels in self.trace.made.items()
            if name == "out" and labels is not None and maker in prefixes(address)
        )

    def removal(self, nominal: Array, dead: Reduction[Array]) -> Removal:
        return Removal(self.trace, self.families, nominal, dead)

    def planned(self, counts: Sequence[int]) -> Removal:
        """Return a removal of which only the sizes count."""
        nominal = self.families.first(counts)
        return self.removal(nominal, Reduction(lambda _: nominal, 0))

    def lowest(self, counts: Sequence[int], scores: Reduction[Array]) -> Removal:
        """Return the removal of the classes with the lowest scores, so many of each family."""

        def choose() -> Array:
            found = scores.result()
            parts = [
                family.free[np.argsort(found[family.free], kind="stable")[:count]]
                for family, count in zip(self.families.families, counts, strict=True)
            ]
            return np.concatenate([np.empty(0, np.intp), *parts])

        dead = Reduction(lambda pool: (scores.result(pool), choose())[1], scores.passes)
        return self.removal(self.families.first(counts), dead)

    def order(self, scores: Array | None) -> Sequence[int]:
        """Return the numbers of chosen families in the order in which they lose a class."""
        if scores is None:
            found: list[tuple[Fraction | float, int]] = [
                (Fraction(n, family.free.size), place)
                for place, family in enumerate(self.chosen)
                for n in range(1, family.free.size + 1)
            ]
        else:
            found = []
            for place, family in enumerate(self.chosen):
                own = scores[family.free]
                mean = own.mean() if own.size else 0
                found += [(float(each), place) for each in (own / mean if mean else own)]
        return [place for _, place in sorted(found)]

    def first_of(self, order: Sequence[int], length: int) -> Sequence[int]:
        """Return how many classes of each chosen family are among the first of an order."""
        counts = np.bincount(order[:length], minlength=len(self.chosen))
        return [int(count) for count in counts]

    def told(self) -> str:
        """Return which channels of the chosen families must stay, and why."""
        reasons: dict[str, list[str]] = {}
        count = 0
        for family in self.chosen:
            for reason, number in family.why.items():
                reasons.setdefault(reason, []).append(str(family))
                count += number
        said = [f"{names(makers)} ({reason})" for reason, makers in reasons.items()]
        more = f"; and {len(said) - MOST_NAMED} more reasons" if len(said) > MOST_NAMED else ""
        return f"{count} channels must stay: {'; '.join(said[:MOST_NAMED])}{more}"
