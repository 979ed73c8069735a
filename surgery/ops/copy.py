"""`copy`: take weights from a donor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from surgery.architecture.alike import names_in
from surgery.architecture.renaming import new_address
from surgery.declared.fields import key
from surgery.errors import SelectorError
from surgery.ops.base import WeightOp, op
from surgery.weights.matching import Matching, matching, names
from surgery.weights.model import Model
from surgery.weights.selectors import Select
from surgery.weights.sources import Donor
from surgery.weights.tensor import Array, Mapped
from surgery.weights.weight import Weight


@op
@dataclass(frozen=True, kw_only=True)
class Copy(WeightOp):
    """Take the values of the selected weights from another model."""

    select: Select = key(
        "The weights to overwrite.", "block*", default=Select("**"), in_example=True
    )
    from_: Donor = key("The donor: a model file, or a mapping as in load.", "donor.keras")
    map: Mapping[str, str] | None = key(
        "For names that differ (other than by Keras's automatic numbers in otherwise equal "
        "models): patterns of the donor's addresses, and the addresses here.",
        {"block1_*/**": "b1_*/**"},
        default=None,
    )
    mismatch: Literal["error", "skip", "report"] = key(
        "What to do if a selected weight is not in the donor, or has another shape there.",
        "report",
        default="error",
    )

    def donors(self) -> tuple[Donor, ...]:
        return (self.from_,)

    def matched(self, model: Model) -> tuple[Weight, ...]:
        return tuple(weight for weight, _ in self._matching(model).pairs)

    def renames(self, model: Model) -> Mapping[str, str]:
        if not self.map:
            return {}
        pairs = ((donor.address, weight.address) for weight, donor in self._matching(model).pairs)
        return {old: new for old, new in pairs if old != new}

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
                f"{names([weight.address for weight in self.from_.model.weights])}"
            )
        if self.mismatch != "skip":
            problems += [f"left over: {names(found.left_over)}"] if found.left_over else []
            taken = f"{len(found.pairs)} weights from {self.from_.model.origin}"
            model = model.with_note("; ".join([f"copy: {taken}", *problems]))
        return model.with_weights(
            weight.with_tensor(_taken(weight, donor)) for weight, donor in found.pairs
        )

    def _matching(self, model: Model) -> Matching:
        weights = self.select.weights(model, self.allow_empty)
        try:
            known = model.by_address if self.mismatch == "error" else None
            return matching(weights, self._donated(model), self.map or {}, known)
        except ValueError as error:
            raise SelectorError(f"map: {error}") from None

    def _donated(self, model: Model) -> Sequence[Weight]:
        """Return the donor's weights, under the names that its layers have in the model."""
        donor = self.from_.model
        if self.map or donor.architecture is None or model.architecture is None:
            return donor.weights
        names = names_in(donor.architecture, model.architecture)
        return [
            replace(w, address=new_address(donor.architecture, names, w.address))
            for w in donor.weights
        ]


def _taken(weight: Weight, donor: Weight) -> Mapped:
    dtype = weight.tensor.dtype

    def take(values: Array, start: int) -> Array:
        with np.errstate(over="ignore"):
            taken: Array = donor.tensor.read(start, start + values.size).astype(dtype, copy=False)
            return taken

    return Mapped(weight.tensor, take)
