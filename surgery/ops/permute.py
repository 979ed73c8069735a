"""`permute` and `transpose`: reorder elements."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from surgery.declared.fields import key
from surgery.errors import SelectorError
from surgery.ops.base import WeightOp, op
from surgery.weights.model import Model
from surgery.weights.tensor import CHUNK, Array, Rearranged, Tensor, in_blocks, in_pieces
from surgery.weights.weight import Weight


@op
@dataclass(frozen=True, kw_only=True)
class Permute(WeightOp):
    """Reorder the selected weights along an axis (RGB to BGR, heads, classes)."""

    order: tuple[int, ...] = key("The old index for each new index.", [2, 1, 0])
    axis: int = key("The axis; -1 is the last.", -2, default=-1)

    def __post_init__(self) -> None:
        if sorted(self.order) != list(range(len(self.order))):
            raise ValueError(
                f"order {list(self.order)} does not hold each of 0 to {len(self.order) - 1} once"
            )

    def apply(self, model: Model) -> Model:
        order = np.array(self.order)
        changed = []
        for weight in self.matched(model):
            axis = _axis(weight, self.axis)
            if weight.tensor.shape[axis] != order.size:
                raise SelectorError(
                    f"{weight.address} has {weight.tensor.shape[axis]} along axis {self.axis}, "
                    f"and order has {order.size}"
                )
            changed.append(weight.with_tensors(partial(_permuted, axis=axis, order=order)))
        return model.with_moved(changed)


@op
@dataclass(frozen=True, kw_only=True)
class Transpose(WeightOp):
    """Reorder the axes of the selected weights."""

    axes: tuple[int, ...] | None = key(
        "The old axis for each new axis; reversed by default.", [1, 0], default=None
    )

    def apply(self, model: Model) -> Model:
        changed = []
        for weight in self.matched(model):
            rank = len(weight.tensor.shape)
            axes = tuple(reversed(range(rank))) if self.axes is None else self.axes
            if sorted(axes) != list(range(rank)):
                raise SelectorError(
                    f"{weight.address} is {list(weight.tensor.shape)}: axes must hold each of "
                    f"0 to {rank - 1} once"
                )
            changed.append(weight.with_tensors(partial(_transposed, axes=axes)))
        return model.with_moved(changed)


def _axis(weight: Weight, axis: int) -> int:
    rank = len(weight.tensor.shape)
    if not -rank <= axis < rank:
        raise SelectorError(f"{weight.address} is {list(weight.tensor.shape)}: no axis {axis}")
    return axis % rank


def _permuted(tensor: Tensor, axis: int, order: Array) -> Tensor:
    inner = math.prod(tensor.shape[axis + 1 :])
    block = order.size * inner
    if block > 4 * CHUNK:
        tensor = in_pieces(tensor)

    def whole(values: Array, _start: int) -> Array:
        return values.reshape(-1, order.size, inner)[:, order].reshape(-1)

    def by_runs(before: Tensor, start: int, stop: int) -> Array:
        """Read each run of contiguous elements by itself."""
        parts = []
        while start < stop:
            outer, place = divmod(start, block)
            index, offset = divmod(place, inner)
            size = min(inner - offset, stop - start)
            first = outer * block + int(order[index]) * inner + offset
            parts.append(before.read(first, first + size))
            start += size
        return np.concatenate([*parts, np.empty(0, tensor.dtype)])

    return Rearranged(tensor, in_blocks(block, whole) if block <= 4 * CHUNK else by_runs)


def _transposed(tensor: Tensor, axes: tuple[int, ...]) -> Tensor:
    tensor = in_pieces(tensor)
    old = tensor.shape
    new = tuple(old[axis] for axis in axes)
    if not axes or tensor.size == 0:
        return Rearranged(tensor, lambda before, start, stop: before.read(start, stop), new)
    first = axes[0]
    outer, inner = math.prod(old[:first]), math.prod(old[first + 1 :])
    row = tensor.size // old[first]

    def gather(before: Tensor, start: int, stop: int) -> Array:
        """Read whole rows of the result: a slice of each block along the first axis."""
        if start >= stop:
            return before.read(start, start)
        low, high = start // row, -(-stop // row)
        taken = [
            before.read((block * old[first] + low) * inner, (block * old[first] + high) * inner)
            for block in range(outer)
        ]
        part = np.concatenate(taken).reshape(*old[:first], high - low, *old[first + 1 :])
        return part.transpose(axes).reshape(-1)[start - low * row : stop - low * row]

    return Rearranged(tensor, gather, new)
