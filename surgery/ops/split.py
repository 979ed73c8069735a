"""`split`: one weight becomes several, along an axis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from surgery.declared.fields import key
from surgery.errors import SelectorError
from surgery.ops._tables import TableOp, axis_of, new_name
from surgery.ops.base import op
from surgery.weights.model import Model
from surgery.weights.selectors import Select
from surgery.weights.slicing import sliced
from surgery.weights.tables import with_slots_attached, with_table
from surgery.weights.tensor import Tensor
from surgery.weights.weight import Weight


@op
@dataclass(frozen=True, kw_only=True)
class Split(TableOp):
    """Split each selected weight, and its optimizer state, into several along an axis."""

    select: Select = key("The weights to split.", "block_*/qkv/kernel")
    axis: int = key("The axis; -1 is the last.", -1, default=-1)
    into: tuple[str, ...] = key(
        "The addresses of the parts; each * is replaced by what it matched in select.",
        ["block_*/q/kernel", "block_*/k/kernel", "block_*/v/kernel"],
        minItems=1,
    )
    sizes: tuple[int, ...] | None = key(
        "The size of each part along the axis; equal parts by default.",
        [512, 128, 128],
        default=None,
    )

    def __post_init__(self) -> None:
        if self.sizes is not None and len(self.sizes) != len(self.into):
            raise ValueError(f"{len(self.sizes)} sizes for {len(self.into)} parts")
        if self.sizes is not None and min(self.sizes) < 0:
            raise ValueError("a size is negative")

    def renames(self, model: Model) -> Mapping[str, str]:
        return {w.address: ", ".join(self._addresses(w)) for w in self.matched(model)}

    def apply(self, model: Model) -> Model:
        for address in [weight.address for weight in self.matched(model)]:
            model = with_slots_attached(model)
            weight = model[address]
            step = f"{self.name} of {address}"
            model = with_table(model, [weight], list(self._parts(weight)), step)
        return model

    def _addresses(self, weight: Weight) -> Sequence[str]:
        return [new_name(self, self.select.value, to, weight.address) for to in self.into]

    def _parts(self, weight: Weight) -> Iterator[Weight]:
        axis = axis_of(weight.tensor.shape, self.axis, weight.address)
        first = 0
        for address, size in zip(self._addresses(weight), self._sizes(weight, axis), strict=True):
            taken = partial(_part, axis=axis, part=range(first, first + size))
            follow = all(slot.shape == weight.tensor.shape for _, slot in weight.slots)
            slots = tuple((name, taken(slot)) for name, slot in weight.slots if follow)
            tensor = taken(weight.tensor)
            yield replace(weight, address=address, tensor=tensor, stored=(), slots=slots)
            first += size

    def _sizes(self, weight: Weight, axis: int) -> Sequence[int]:
        """Return the size of each part; raises SelectorError if they are not the whole."""
        size, count = weight.tensor.shape[axis], len(self.into)
        if self.sizes is None and size % count:
            raise SelectorError(
                f"{weight.address} is {list(weight.tensor.shape)}: {size} is not divisible by "
                f"{count}; give sizes"
            )
        sizes = [size // count] * count if self.sizes is None else self.sizes
        if sum(sizes) != size:
            raise SelectorError(
                f"{weight.address} is {list(weight.tensor.shape)}: the sizes {list(sizes)} are "
                f"{sum(sizes)} along axis {self.axis}, not {size}"
            )
        return sizes


def _part(tensor: Tensor, axis: int, part: range) -> Tensor:
    shape = tensor.shape
    axes = tuple(part if a == axis else range(size) for a, size in enumerate(shape))
    return sliced(tensor, axes, (*shape[:axis], len(part), *shape[axis + 1 :]))
