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
from surgery.ops._slices import SlicedOp
from surgery.ops.base import op
from surgery.weights.matching import Matching, NameMap, mapped_only, names, paired
from surgery.weights.model import Model
from surgery.weights.selectors import Select
from surgery.weights.sources import Donor, OwnDonor
from surgery.weights.tables import with_slots_attached, with_table
from surgery.weights.tensor import Array, Mapped, Tensor
from surgery.weights.weight import Weight


@op
@dataclass(frozen=True, kw_only=True)
class Copy(SlicedOp):
    """Take the values of the selected weights from another model."""

    select: Select = key(
        "The weights to overwrite.", "block*", default=Select("**"), in_example=True
    )
    from_: OwnDonor = key(
        "The donor: a model file, a mapping as in load, or {step: before}, this model as it was "
        "before the step.",
        "donor.keras",
    )
    map: NameMap | None = key(
        "For names that differ (other than by Keras's automatic numbers in otherwise equal "
        "models): patterns of the donor's addresses, and the addresses here (one, a list, or null "
        "to leave out). Only weights that it names are overwritten.",
        {"block1_*/**": "b1_*/**"},
        default=None,
    )
    match: Literal["name", "order", "shape"] = key(
        "Which weight of the donor a selected one takes: the one of its name; with order, the one "
        "in its place, of as many; with shape, the one of its shape, in order where several have "
        "it. The plan shows the pairs.",
        "order",
        default="name",
    )
    create: bool = key(
        "With map: make weights that are not here. For files of weights only.", True, default=False
    )
    reshape: bool = key(
        "Take values in another shape of as many elements, in row-major order.", True, default=False
    )
    mismatch: Literal["error", "skip", "report"] = key(
        "What to do if a selected weight is not in the donor, or has another shape there.",
        "report",
        default="error",
    )

    def __post_init__(self) -> None:
        if self.map is not None and self.match != "name":
            raise ValueError("give either map or match")
        if self.create and self.map is None:
            raise ValueError("create needs a map that says which weights are made")
        if self.create and self.slice is not None:
            raise ValueError("create makes whole weights; it takes no slice")

    def donors(self) -> tuple[Donor, ...]:
        return self.from_.donors()

    def matched(self, model: Model) -> tuple[Weight, ...]:
        return tuple(weight for weight, _ in self._matching(model).pairs)

    def renames(self, model: Model) -> Mapping[str, str]:
        if self.map is None and self.match == "name":
            return {}
        pairs = self._matching(model).pairs
        found = [(donor.address, weight.address) for weight, donor in pairs]
        found += [(donor.address, address) for address, donor in self._created(model).items()]
        return {
            old: ", ".join(new for each, new in found if each == old)
            for old, new in found
            if old != new
        }

    def apply(self, model: Model) -> Model:
        found, created = self._matching(model), self._created(model)
        problems = list(found.problems())
        if problems and self.mismatch == "error":
            raise SelectorError(
                f"{'; '.join(problems)}; give map, narrow select, or say mismatch: skip"
            )
        donor = self.from_.of(model)
        if not found.pairs and not created and not self.allow_empty:
            raise SelectorError(
                f"no selected weight is in {donor.origin}; it has "
                f"{names([weight.address for weight in donor.weights])}"
            )
        if self.mismatch != "skip":
            problems += [f"left over: {names(found.left_over)}"] if found.left_over else []
            taken = f"{len(found.pairs) + len(created)} weights from {donor.origin}"
            model = model.with_note("; ".join([f"copy: {taken}", *problems]))
        model = self._overwritten(model, found.pairs)
        if not created:
            return model
        if model.architecture is not None:
            raise SelectorError(
                f"create: {next(iter(created))} is not in {model.origin}, which has an "
                "architecture; insert and append make layers"
            )
        made = [Weight(address, given.tensor) for address, given in created.items()]
        return with_table(with_slots_attached(model), (), made, self.name)

    def _overwritten(self, model: Model, pairs: Sequence[tuple[Weight, Weight]]) -> Model:
        donors = {w.address: self.part(w, _in_shape(donor.tensor, w)) for w, donor in pairs}

        def take(model: Model, weights: Sequence[Weight]) -> Model:
            return model.with_weights(
                w.with_tensor(_taken(w.tensor, donors[w.address])) for w in weights
            )

        return self.within(model, [weight for weight, _ in pairs], take)

    def _matching(self, model: Model) -> Matching:
        return model.once(self._matched)

    def _matched(self, model: Model) -> Matching:
        weights = self.select.weights(model, self.allow_empty)
        if self.match != "name":
            return self._in_order(model, weights)
        if self.map is not None:
            there = self._mapped(model)
            wanted = [weight for weight in weights if weight.address in there]
            found = paired(wanted, there, self.reshape)
            taken = [donor for _, donor in found.pairs] + list(self._created(model).values())
            used = {donor.address for donor in taken}
            donors = self.from_.of(model).weights
            found.left_over = [donor.address for donor in donors if donor.address not in used]
            return found
        there = {weight.address: weight for weight in self._donated(model)}
        return paired(weights, there, self.reshape)

    def _mapped(self, model: Model) -> Mapping[str, Weight]:
        """Return the donor's weights by the addresses that they are for here."""
        assert self.map is not None
        known = model.by_address if self.mismatch == "error" and not self.create else None
        try:
            there = mapped_only(self.from_.of(model).weights, self.map.pairs, known)
        except ValueError as error:
            raise SelectorError(f"map: {error}") from None
        return {a: w for a, w in there.items() if self.create or a in model.by_address}

    def _created(self, model: Model) -> Mapping[str, Weight]:
        """Return the donor's weights by the addresses that are made for them."""
        if not self.create:
            return {}
        there = self._mapped(model)
        return {a: weight for a, weight in there.items() if a not in model.by_address}

    def _in_order(self, model: Model, weights: Sequence[Weight]) -> Matching:
        """Match the weights in order, of all or of each shape; raises SelectorError."""
        donors = self.from_.of(model).weights
        if self.match == "order":
            _check_as_many(len(weights), len(donors), "")
            pairs = list(zip(weights, donors, strict=True))
        else:
            pairs = [
                pair for shape in _shapes(weights) for pair in _of_shape(shape, weights, donors)
            ]
        return paired(weights, {weight.address: donor for weight, donor in pairs}, self.reshape)

    def _donated(self, model: Model) -> Sequence[Weight]:
        """Return the donor's weights, under the names that its layers have in the model."""
        donor = self.from_.of(model)
        if donor.architecture is None or model.architecture is None:
            return donor.weights
        names = names_in(donor.architecture, model.architecture)
        return [
            replace(w, address=new_address(donor.architecture, names, w.address))
            for w in donor.weights
        ]


def _shapes(weights: Sequence[Weight]) -> Sequence[tuple[int, ...]]:
    return list(dict.fromkeys(weight.tensor.shape for weight in weights))


def _of_shape(
    shape: tuple[int, ...], weights: Sequence[Weight], donors: Sequence[Weight]
) -> list[tuple[Weight, Weight]]:
    """Return pairs of the weights of a shape, in order; raises SelectorError."""
    ours, theirs = ([w for w in each if w.tensor.shape == shape] for each in (weights, donors))
    _check_as_many(len(ours), len(theirs), f" of shape {list(shape)}")
    return list(zip(ours, theirs, strict=True))


def _check_as_many(ours: int, theirs: int, which: str) -> None:
    if ours != theirs:
        raise SelectorError(
            f"{ours} weights{which} are selected, and the donor has {theirs}; narrow select, or "
            "the donor by {path: ..., select: ...}"
        )


def _in_shape(tensor: Tensor, weight: Weight) -> Tensor:
    """Return the tensor in the weight's shape, which must have as many elements."""
    shape = weight.tensor.shape
    return tensor if tensor.shape == shape else Mapped(tensor, lambda v, _: v, shape=shape)


def _taken(tensor: Tensor, donor: Tensor) -> Mapped:
    """Return the donor's elements in the tensor's dtype."""

    def take(values: Array, start: int) -> Array:
        with np.errstate(over="ignore"):
            taken: Array = donor.read(start, start + values.size).astype(tensor.dtype, copy=False)
            return taken

    return Mapped(tensor, take)
