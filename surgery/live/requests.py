"""The arguments of jobs in the process with Keras: plain values, made without Keras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from surgery.declared.data import Data
from surgery.live.code import Code
from surgery.weights.channels import Channels


@dataclass(frozen=True)
class LiveFile:
    """A file to load a live model from, and the paths of the weights in it.

    `stored` has each weight's paths (`layers/dense/vars/0`) by its address; `code` is the user's
    code that the model needs, and `others` are .npy files of variables that Keras does not save.
    `trained` has the trainable flags of a model that code builds, `frozen` the weights that must
    stay frozen although Keras does not restore that. `compile_config` is for a model that code
    builds; `has_slots` is whether the file has optimizer state.
    """

    path: Path
    stored: Mapping[str, tuple[str, ...]]
    code: Code | None = None
    others: Mapping[str, Path] = field(default_factory=dict)
    trained: Mapping[str, bool] = field(default_factory=dict)
    frozen: Sequence[str] = ()
    compile_config: Mapping[str, Any] | None = None
    has_slots: bool = False

    @property
    def builds(self) -> bool:
        """True if code builds the model, and the file has weights only."""
        return self.code is not None and self.code.build is not None


@dataclass(frozen=True)
class Hold:
    """Elements that keep their values: those that are zero now, or those in a mask.

    With `kernels`, only elements in channels in which all these kernels are zero; `channels` has
    the channels of each weight and kernel.
    """

    addresses: Sequence[str]
    mask: Path | None = None
    kernels: Sequence[str] = ()
    channels: Mapping[str, Channels] = field(default_factory=dict)


@dataclass(frozen=True)
class Schedule:
    """The sparsity of weights at each step of the optimizer.

    `polynomial` is the cubic schedule of Zhu and Gupta, "To prune, or not to prune" (2017,
    arXiv:1710.01878): fast at first, slow towards the end. `constant` prunes fully at once.
    """

    addresses: Sequence[str]
    start: Fraction
    end: Fraction
    begin: int
    until: int
    every: int
    kind: str
    at_end: str

    def sparsity(self, step: int) -> Fraction | None:
        """Return the share of zeros from that step on; None if it does not change there."""
        is_due = self.begin <= step < self.until and (step - self.begin) % self.every == 0
        if not is_due and step != self.until:
            return None
        if self.kind == "constant" or step >= self.until:
            return self.end
        left = 1 - Fraction(step - self.begin, self.until - self.begin)
        return self.end + (self.start - self.end) * left**3


@dataclass(frozen=True, kw_only=True)
class Training:
    """All settings of a training; weights are named by their addresses.

    If `goes_on`, arguments missing in `compile` are the model's own.
    """

    data: Data
    epochs: int
    batch_size: int
    shuffle: bool
    compile: Mapping[str, Any]
    goes_on: bool
    learning_rate: float | Mapping[str, Any] | None
    validation: Data | None
    validation_split: Fraction | None
    class_weight: Mapping[int, float] | None
    callbacks: Sequence[tuple[str, Mapping[str, Any]]]
    mixed_precision: str | None
    holds: Sequence[Hold]
    schedule: Schedule | None
