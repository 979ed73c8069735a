"""`remove_channels`: a smaller dense model, with fewer channels."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from surgery.architecture.shapes import model_shapes
from surgery.declared.fields import Share, key
from surgery.errors import SelectorError
from surgery.ops._budgets import Budget
from surgery.ops._channel_choice import MOST_NAMED, Cutting
from surgery.ops._channel_cuts import Removal
from surgery.ops._channel_scores import Criterion, Scores
from surgery.ops.base import op
from surgery.ops.structure import StructureOp
from surgery.structure import families_of, traced
from surgery.weights.layer_selectors import SelectLayers
from surgery.weights.matching import names
from surgery.weights.model import Model
from surgery.weights.restructuring import restructured
from surgery.weights.tensor import Array, Reduction

_AMOUNTS = ("amount", "keep", "indices", "flops", "parameters", "bytes")


@op
@dataclass(frozen=True, kw_only=True)
class RemoveChannels(StructureOp):
    """Remove the channels of layers that matter least, so that the model gets smaller.

    Channels that hang together (by a residual connection, a depthwise convolution, groups...) are
    a family, and go together, with every weight and every number of the config that is about them.
    """

    select: SelectLayers = key(
        "The layers; a family takes part if one of the layers that make its channels is named.",
        {"type": "Conv2D"},
    )
    amount: Share | None = key(
        "The share of each family's channels that goes, rounded down; of all channels with "
        "scope: global.",
        "30%",
        default=None,
        in_example=True,
    )
    keep: int | None = key(
        "Instead: how many channels stay in each family.", 64, default=None, minimum=1
    )
    indices: tuple[int, ...] | None = key(
        "Instead: the numbers of the channels that go, of the one layer selected.",
        [0, 3],
        default=None,
    )
    flops: Budget | None = key(
        "Instead: the FLOPs that the model has at most, a share or a number.", "50%", default=None
    )
    parameters: Budget | None = key(
        "Instead: the parameters that it has at most, a share or a number.", "50%", default=None
    )
    bytes: Budget | None = key(
        "Instead: the bytes that its weights have at most, a share or a size.",
        "10MB",
        default=None,
    )
    by: Criterion = key(
        "What a channel's score is: l1 is the sum of its kernels' magnitudes, l2 that of their "
        "squares, bn_scale the magnitude of the gamma of BatchNormalization; the lowest go.",
        "l2",
        default="l1",
    )
    scope: Literal["family", "global"] = key(
        "Whether channels compete inside their family, or with all others by scores that are "
        "divided by their family's mean.",
        "global",
        default="family",
    )
    at_least: int = key("How many channels stay in each family.", 8, default=1, minimum=1)
    round_to: int = key(
        "The number of channels that stay is rounded up to a multiple of this.",
        8,
        default=1,
        minimum=1,
    )
    through_norms: Literal["refuse", "allow"] = key(
        "What becomes of channels that a layer looks at together, such as LayerNormalization or "
        "softmax: they stay; or they go, and the layer works on those that are left.",
        "allow",
        default="refuse",
    )
    fixed: Literal["skip", "error"] = key(
        "What becomes of selected channels that cannot be removed: they stay, and a note says "
        "why; or an error.",
        "error",
        default="skip",
    )
    counts: tuple[int, ...] | None = field(default=None, compare=False)
    """How many channels of each family go, where values of weights decide that; not a key."""

    def __post_init__(self) -> None:
        given = [name for name in _AMOUNTS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of {', '.join(_AMOUNTS)}")
        if self.scope == "global" and given[0] in ("keep", "indices"):
            raise ValueError(f"{given[0]} is for scope: family")

    @property
    def needs_values(self) -> bool:
        return self.scope == "global"

    @property
    def title(self) -> str:
        size = next(f"{n} {getattr(self, n)}" for n in _AMOUNTS if getattr(self, n) is not None)
        return f"{self.name} {self.select} ({size})"

    def resolved(self, model: Model) -> RemoveChannels:
        """Return the op with how many channels of each family go, for which kernels are read."""
        if self.scope == "family":
            return self
        cutting = self._cutting(model)
        scores = cutting.scores.reduction(cutting.chosen).result()
        return replace(self, counts=tuple(self._counts(model, cutting, scores)))

    def apply(self, model: Model) -> Model:
        cutting = self._cutting(model)
        removal = self._removal(model, cutting)
        if not removal.nominal.size:
            return model.with_note(f"{self.name}: nothing is removed; {cutting.told()}")
        architecture = model.need_architecture(f"{self.name} acts on layers")
        config = removal.config(architecture.config)
        made = restructured(model, config, new=removal.weights(model))
        return self._noted(model, made, cutting, removal)

    def removal(self, model: Model) -> Removal:
        """Return which channels are removed."""
        return self._removal(model, self._cutting(model))

    def _removal(self, model: Model, cutting: Cutting) -> Removal:
        if self.indices is not None:
            dead = self._indexed(model, cutting)
            return cutting.removal(dead, Reduction(lambda _: dead, 0))
        counts = self.counts or self._counts(model, cutting, None)
        return cutting.lowest(counts, cutting.scores.reduction(cutting.chosen))

    def _cutting(self, model: Model) -> Cutting:
        """Return the families, and which take part; raises SelectorError where none does."""
        trace = traced(self.architecture(model))
        families = families_of(trace.labels, self.through_norms == "allow")
        selected = {node.address for node in self.select.layers(model)}
        chosen = [f for f in families.families if selected.intersection(f.makers)]
        if not chosen:
            raise SelectorError(f"{self.select} names no layer that makes channels")
        cutting = Cutting(trace, families, chosen, Scores(model, families, self.by, self.draws))
        if not any(family.free.size for family in chosen):
            raise SelectorError(f"none of the channels can be removed: {cutting.told()}")
        if self.fixed == "error" and any(family.why for family in chosen):
            raise SelectorError(f"{cutting.told()}; say fixed: skip, or narrow select")
        cutting.scores.check(chosen)
        return cutting

    def _indexed(self, model: Model, cutting: Cutting) -> Array:
        """Return the classes of the channels that `indices` names."""
        layers = [n.address for n in self.select.layers(model) if n.address in cutting.makers()]
        if len(layers) != 1:
            raise SelectorError(f"indices is for one layer, and select names {names(layers)}")
        labels = cutting.made_by(layers[0])
        asked = np.array(self.indices, np.intp)
        wrong = [i for i in asked.tolist() if not 0 <= i < labels.size]
        if wrong:
            raise SelectorError(f"{layers[0]} has {labels.size} channels, and no {wrong[0]}")
        dead = np.unique(cutting.families.root[labels[asked]])
        for family in cutting.families.families:
            gone = family.classes[np.isin(family.classes, dead)]
            if not np.isin(gone, family.free).all():
                raise SelectorError(f"{cutting.told()}; leave them out of indices")
            if gone.size and family.classes.size - gone.size < self.at_least:
                raise SelectorError(f"{family} would have fewer channels than {self.at_least}")
        return dead

    def _counts(self, model: Model, cutting: Cutting, scores: Array | None) -> Sequence[int]:
        """Return how many classes of each family go.

        Without scores, families lose channels in step with each other.
        """
        if self.keep is not None:
            asked = [f.classes.size - self.keep for f in cutting.chosen]
            return self._allowed(cutting, asked)
        order = cutting.order(scores)
        if self.amount is not None:
            share = self.amount.fraction
            if scores is None and self.scope == "family":
                return self._allowed(
                    cutting, [math.floor(share * f.free.size) for f in cutting.chosen]
                )
            return self._allowed(cutting, cutting.first_of(order, math.floor(share * len(order))))
        limit, cost = self._budget(model, cutting)
        length = bisect.bisect_left(
            range(len(order) + 1),
            -limit,
            key=lambda n: -cost(self._allowed(cutting, cutting.first_of(order, n))),
        )
        if length > len(order):
            raise SelectorError(
                f"no more than {limit:,} cannot be reached: with all channels removed that can be, "
                f"it is {cost(self._allowed(cutting, cutting.first_of(order, len(order)))):,}"
            )
        return self._allowed(cutting, cutting.first_of(order, length))

    def _allowed(self, cutting: Cutting, asked: Sequence[int]) -> Sequence[int]:
        """Return how many go of all families, as far as at_least and round_to allow."""
        counts = dict.fromkeys(map(id, cutting.families.families), 0)
        for family, count in zip(cutting.chosen, asked, strict=True):
            size = family.classes.size
            stays = max(size - max(0, min(count, family.free.size)), self.at_least)
            stays = math.ceil(stays / self.round_to) * self.round_to
            counts[id(family)] = max(0, size - stays)
        return list(counts.values())

    def _budget(self, model: Model, cutting: Cutting) -> tuple[int, Callable[[Sequence[int]], int]]:
        """Return what is allowed, and a function of counts that returns what it would be."""
        config = model.need_architecture("it has FLOPs").config
        if self.flops is not None:
            whole = model_shapes(config).total
            if whole is None:
                raise SelectorError("the model's FLOPs are unknown; give parameters or bytes")
            return self.flops.of(whole), lambda counts: _flops(
                cutting.planned(counts).config(config)
            )
        if self.parameters is not None:
            limit = self.parameters.of(model.parameters)
            return limit, lambda counts: cutting.planned(counts).parameters(model)
        assert self.bytes is not None
        return self.bytes.of(model.nbytes), lambda counts: cutting.planned(counts).bytes(model)

    def _noted(self, before: Model, after: Model, cutting: Cutting, removal: Removal) -> Model:
        gone = [
            (family, int(np.isin(family.classes, removal.nominal).sum()))
            for family in cutting.families.families
        ]
        cut = [(family, count) for family, count in gone if count]
        was = sum(family.classes.size for family in cutting.families.families)
        now = was - sum(count for _, count in cut)
        listed = ", ".join(
            f"{family} {family.classes.size} -> {family.classes.size - count}"
            for family, count in cut[:MOST_NAMED]
        )
        more = f" and {len(cut) - MOST_NAMED} more" if len(cut) > MOST_NAMED else ""
        costs = [_total(m) for m in (before, after)]
        flops = "" if None in costs else f", FLOPs {costs[0]:,} -> {costs[1]:,}"
        made = after.with_note(
            f"{self.name}: {now:,} of {was:,} channels stay, parameters {before.parameters:,} -> "
            f"{after.parameters:,}{flops}"
        ).with_note(f"{len(cut)} families have fewer channels: {listed}{more}")
        if self.needs_values and self.counts is None:
            made = made.with_note("which family loses how many is known once weights are read")
        return made.with_note(cutting.told()) if any(f.why for f in cutting.chosen) else made


def _flops(config: Mapping[str, object]) -> int:
    total = model_shapes(config).total
    assert total is not None
    return total


def _total(model: Model) -> int | None:
    architecture = model.need_architecture("it has FLOPs")
    return model_shapes(architecture.config).total
