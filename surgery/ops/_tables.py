"""Functions shared by the ops that remove weights and make new ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from surgery.errors import SelectorError, SurgeryError
from surgery.ops.base import Op, WeightOp
from surgery.weights.initializers import initialized
from surgery.weights.naming import renamed_beginning
from surgery.weights.random import Randomness
from surgery.weights.tensor import Tensor
from surgery.weights.weight import Weight


@dataclass(frozen=True, kw_only=True)
class TableOp(WeightOp):
    """An op after which there are other weights than before."""

    changes_table = True

    def changes(self, weights: Sequence[Weight]) -> int | None:
        return 0


def new_name(op: Op, pattern: object, to: str, address: str) -> str:
    """Return what `to` makes of an address that a selector matches; raises SelectorError.

    A selector that is one glob or regular expression gives `to` what it matched; with any other,
    `to` is the name itself.
    """
    if not isinstance(pattern, str) or "{" in pattern:
        if "*" in to:
            raise SelectorError(
                f"{op.name}: {to} takes what a * matched; select by one pattern without braces"
            )
        return to
    try:
        found = renamed_beginning(pattern, to, address)
    except ValueError as error:
        raise SelectorError(str(error)) from None
    return to if found is None else found


def axis_of(shape: Sequence[int], axis: int, address: str) -> int:
    """Return the axis counted from the front; raises SelectorError if there is none."""
    if not -len(shape) <= axis < len(shape):
        raise SelectorError(f"{address} is {list(shape)}: no axis {axis}")
    return axis % len(shape)


def drawn(
    initializer: str,
    arguments: Mapping[str, Any] | None,
    like: tuple[tuple[int, ...], np.dtype[Any]],
    draws: Randomness,
    address: str,
) -> Tensor:
    """Return a tensor of that shape and dtype by a Keras initialiser; raises SelectorError.

    The initialiser may be written as Keras does in short: glorot_uniform for GlorotUniform.
    """
    name = initializer
    if name == name.lower():
        name = "".join(part.title() for part in name.split("_"))
    try:
        return initialized(name, arguments or {}, *like, draws.seed, draws.step, address)
    except SurgeryError as error:
        raise SelectorError(f"{address}: {error}") from None
