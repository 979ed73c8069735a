"""The keys of train that hold or prune weights, and their translation for the training job."""

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
        "A .npy file of the weight's shape; elements where it is not zero are kept.", "mask.npy"
    )


@dataclass(frozen=True, kw_only=True)
class PruneSchedule:
    """The sparsity of weights over the optimizer's steps of a training."""

    select: Select = key("The weights to prune.", "**/kernel")
    to: Share = key("The share of zeros at the end.", "80%")
    from_: Share = key("The share of zeros at the beginning.", "0%", default=Share.parse(0))
    begin: int = key("The first step at which it prunes.", 0, default=0, minimum=0)
    end: int = key("The step at which the final share is reached.", 400, minimum=1)
    every: int = key("Steps from one pruning to the next.", 20, default=100, minimum=1)
    kind: Literal["polynomial", "constant"] = key(
        "polynomial (cubic: fast at first) or constant (the final share at once).",
        "polynomial",
        default="polynomial",
    )

    at_end: Literal["fail", "prune"] = key(
        "If training ends before the schedule: fail, or prune to the final share then.",
        "prune",
        default="fail",
    )

    def __post_init__(self) -> None:
        if self.end <= self.begin:
            raise ValueError("end is not after begin")
        if self.to.fraction < self.from_.fraction:
            raise ValueError("to is less than from; pruned elements are not restored")


def zeros(weights: Iterable[Weight]) -> Hold:
    """Hold the zeros in the kernels among the weights."""
    return Hold([weight.address for weight in weights if _is_kernel(weight)])


def _is_kernel(weight: Weight) -> bool:
    return len(weight.tensor.shape) > 1 and not weight.variable.endswith(_NOT_KERNELS)


def masked(keep: Keep, model: Model) -> Hold:
    """Hold the elements in a mask; raises SelectorError if it does not fit the weights."""
    weights = keep.select.weights(model)
    if fixed := [w.address for w in weights if model.is_frozen(w)]:
        raise SelectorError(f"{fixed[0]} is not trained; keep applies to trained weights only")
    mask = open_npy(keep.mask)
    for weight in weights:
        if weight.tensor.shape != mask.shape:
            raise SelectorError(
                f"{keep.mask} has the shape {list(mask.shape)}, but {weight.address} has "
                f"{list(weight.tensor.shape)}"
            )
    return Hold([weight.address for weight in weights], keep.mask)


def scheduled(wanted: PruneSchedule, keeps: Sequence[Keep], model: Model) -> Schedule:
    """Return the schedule for a model; raises SelectorError if a weight cannot be pruned by it."""
    weights = wanted.select.weights(model)
    if frozen := [w.address for w in weights if model.is_frozen(w)]:
        raise SelectorError(f"{frozen[0]} is not trained, so it is not pruned while training")
    kept = {w.address for keep in keeps for w in keep.select.weights(model)}
    if both := [w.address for w in weights if w.address in kept]:
        raise SelectorError(
            f"{both[0]} is selected by both keep and prune_schedule; narrow one of them"
        )
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
