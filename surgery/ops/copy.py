"""`copy`: weights from a donor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from surgery.declaration import key
from surgery.errors import SelectorError
from surgery.ops._base import Op, op
from surgery.weights.model import Model
from surgery.weights.naming import renamed
from surgery.weights.selectors import Select
from surgery.weights.sources import Donor
from surgery.weights.tensor import Array, Mapped
from surgery.weights.weight import Weight

_MOST_NAMED = 5


@dataclass
class _Matching:
    """Which weight takes which, and what does not fit."""

    pairs: list[tuple[Weight, Weight]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    other_shape: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)

    def problems(self) -> Iterator[str]:
        if self.missing:
            yield f"not in the donor: {_names(self.missing)}"
        if self.other_shape:
            yield f"of another shape there: {_names(self.other_shape)}"


@op
@dataclass(frozen=True, kw_only=True)
class Copy(Op):
    """Take the values of the selected weights from another model."""

    select: Select = key("The weights that take values.", "block*", default=Select("**"))
    from_: Donor = key("The donor: a model file, or a mapping as in load.", "donor.keras")
    map: Mapping[str, str] | None = key(
        "Where names differ: the donor's addresses by pattern, and what they are called here.",
        {"block1_*/**": "b1_*/**"},
        default=None,
    )
    mismatch: Literal["error", "skip", "report"] = key(
        "What to do where a selected weight is not in the donor, or has another shape there.",
        "report",
        default="error",
    )

    def donors(self) -> tuple[Donor, ...]:
        return (self.from_,)

    def matched(self, model: Model) -> tuple[Weight, ...]:
        return tuple(weight for weight, _ in self._matching(model).pairs)

    def apply(self, model: Model) -> Model:
        found = self._matching(model)
        problems = list(found.problems())
        if problems and self.mismatch == "error":
            raise SelectorError(
                f"{'; '.join(problems)}; give map, narrow select, or say mismatch: skip"
            )
        if not found.pairs and not self.allow_empty:
            raise SelectorError(
                f"no selected weight is in {self.from_.model.origin}; it has "
                f"{_names([weight.address for weight in self.from_.model.weights])}"
            )
        if self.mismatch != "skip":
            problems += [f"left over: {_names(found.left_over)}"] if found.left_over else []
            said = f"{len(found.pairs)} weights from {self.from_.model.origin}"
            model = model.with_note("; ".join([f"copy: {said}", *problems]))
        return model.with_weights(
            weight.with_tensor(_taken(weight, donor)) for weight, donor in found.pairs
        )

    def _matching(self, model: Model) -> _Matching:
        there = self._donated()
        found = _Matching()
        for weight in self.select.weights(model, self.allow_empty):
            donor = there.pop(weight.address, None)
            if donor is None:
                found.missing.append(weight.address)
            elif donor.tensor.shape != weight.tensor.shape:
                shapes = f"{list(donor.tensor.shape)}, here {list(weight.tensor.shape)}"
                found.other_shape.append(f"{weight.address} ({shapes})")
            else:
                found.pairs.append((weight, donor))
        found.left_over = [weight.address for weight in there.values()]
        return found

    def _donated(self) -> dict[str, Weight]:
        """The donor's weights by the addresses they have here."""
        there: dict[str, Weight] = {}
        for weight in self.from_.model.weights:
            name = _named(self.map or {}, weight.address)
            if name in there:
                raise SelectorError(
                    f"map gives {there[name].address} and {weight.address} one name: {name}"
                )
            there[name] = weight
        return there


def _named(patterns: Mapping[str, str], address: str) -> str:
    for pattern, to in patterns.items():
        try:
            new = renamed(pattern, to, address)
        except ValueError as error:
            raise SelectorError(f"map: {error}") from None
        if new is not None:
            return new
    return address


def _taken(weight: Weight, donor: Weight) -> Mapped:
    dtype = weight.tensor.dtype

    def take(values: Array, start: int) -> Array:
        with np.errstate(over="ignore"):
            taken: Array = donor.tensor.read(start, start + values.size).astype(dtype, copy=False)
            return taken

    return Mapped(weight.tensor, take)


def _names(names: Sequence[Any]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
