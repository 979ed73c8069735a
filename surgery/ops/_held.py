"""Finds the weights that training must keep as they are, and those that it prunes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from surgery.declared.fields import Share, key
from surgery.errors import SelectorError
from surgery.live.requests import Hold, Schedule
from surgery.weights.model import Model
from surgery.weights.npyfile import open_npy
from surgery.weights.selectors import Select
from surgery.weights.weight import Weight

_NOT_KERNELS = ("bias", "gamma", "beta")


@dataclass(frozen=True, kw_only=True)
class Keep:
    """A part of weights that training must not change."""

    select: Select = key("The weights.", "dense/kernel")
    mask: Path = key(
        "A .npy file of the weight's shape; where it is not zero, the value stays.", "mask.npy"
    )


@dataclass(frozen=True, kw_only=True)
class PruneSchedule:
    """How sparse weights become while they are trained, in steps of the optimizer."""

    select: Select = key("The weights to prune.", "**/kernel")
    to: Share = key("The share of zeros at the end.", "80%")
    from_: Share = key("The share of zeros at its begin.", "0%", default=Share.parse(0))
    begin: int = key("The first step at which it prunes.", 0, default=0, minimum=0)
    end: int = key("The step at which the last share is reached.", 400, minimum=1)
    every: int = key("Steps from one pruning to the next.", 20, default=100, minimum=1)
    kind: Literal["polynomial", "constant"] = key(
        "polynomial (cubic: fast at first) or constant (the last share at once).",
        "polynomial",
        default="polynomial",
    )

    at_end: Literal["fail", "prune"] = key(
        "Where the training ends before its end: fail, or prune to the last share then.",
        "prune",
        default="fail",
    )

    def __post_init__(self) -> None:
        if self.end <= self.begin:
            raise ValueError("end is not after begin")
        if self.to.fraction < self.from_.fraction:
            raise ValueError("to is less than from; what is pruned does not come back")


def zeros(weights: Iterable[Weight]) -> Hold:
    """Hold what is zero in the kernels among those weights."""
    return Hold([weight.address for weight in weights if _is_kernel(weight)])


def _is_kernel(weight: Weight) -> bool:
    return len(weight.tensor.shape) > 1 and not weight.variable.endswith(_NOT_KERNELS)


def masked(keep: Keep, model: Model) -> Hold:
    """Hold what a mask names; raises SelectorError where it does not fit."""
    weights = keep.select.weights(model)
    if fixed := [w.address for w in weights if model.is_frozen(w)]:
        raise SelectorError(f"{fixed[0]} is not trained by an optimizer; keep is for what is")
    mask = open_npy(keep.mask)
    for weight in weights:
        if weight.tensor.shape != mask.shape:
            raise SelectorError(
                f"{keep.mask} has the shape {list(mask.shape)}, but {weight.address} has "
                f"{list(weight.tensor.shape)}"
            )
    return Hold([weight.address for weight in weights], keep.mask)


def scheduled(wanted: PruneSchedule, keeps: Sequence[Keep], model: Model) -> Schedule:
    """The schedule for a model; raises SelectorError for weights that cannot be pruned by it."""
    weights = wanted.select.weights(model)
    if frozen := [w.address for w in weights if model.is_frozen(w)]:
        raise SelectorError(f"{frozen[0]} is not trained, so it is not pruned while training")
    kept = {w.address for keep in keeps for w in keep.select.weights(model)}
    if both := [w.address for w in weights if w.address in kept]:
        raise SelectorError(f"{both[0]} is named by keep and by prune_schedule; it is one of them")
    return Schedule(
        [weight.address for weight in weights],
        wanted.from_.fraction,
        wanted.to.fraction,
        wanted.begin,
        wanted.end,
        wanted.every,
        wanted.kind,
        wanted.at_end,
    )
