"""What the process with Keras is asked: plain values, made without Keras."""

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
    """A file to make a live model from, and where its weights are in it.

    `stored` has each weight's place (`layers/dense/vars/0`) by its address; `code` is what the
    model needs of the user's code, and `others` are .npy files of variables that Keras does not
    save. `trained` says which weights a model that is loaded from the file trains, `frozen` which
    ones stay frozen though Keras forgets it. `compile_config` is for a model that code builds;
    `has_slots` says that the file holds an optimizer's state.
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
        """Whether the model is built by code, and the file holds weights alone."""
        return self.code is not None and self.code.build is not None


@dataclass(frozen=True)
class Hold:
    """Elements that keep their values: those that are zero now, or those of a mask.

    With `kernels` those alone that are in a channel in which all of these are zero; `channels`
    has the channels of all that it names.
    """

    addresses: Sequence[str]
    mask: Path | None = None
    kernels: Sequence[str] = ()
    channels: Mapping[str, Channels] = field(default_factory=dict)


@dataclass(frozen=True)
class Schedule:
    """How sparse the weights are at each step of the optimizer.

    `polynomial` is the cubic schedule of Zhu and Gupta, "To prune, or not to prune" (2017,
    arXiv:1710.01878): fast at first, slow towards the end. `constant` is sparse at once.
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
        """The share of zeros from that step on; None where nothing changes at it."""
        is_due = self.begin <= step < self.until and (step - self.begin) % self.every == 0
        if not is_due and step != self.until:
            return None
        if self.kind == "constant" or step >= self.until:
            return self.end
        left = 1 - Fraction(step - self.begin, self.until - self.begin)
        return self.end + (self.start - self.end) * left**3


@dataclass(frozen=True, kw_only=True)
class Training:
    """All that a training is told; weights are named by their addresses.

    What `compile` does not give is the model's own, if it `goes_on`.
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
