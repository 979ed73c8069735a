"""Slices of lazy tensors as NumPy takes them: `[:, 0:10]`, read and replaced by chunk."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surgery.weights.tensor import (
    CHUNK,
    Array,
    ChunkFunction,
    Mapped,
    Rearranged,
    Reduction,
    Tensor,
    in_pieces,
)

_ITEM = re.compile(r"\.\.\.|[+-]?\d{1,18}|([+-]?\d{1,18})?:([+-]?\d{1,18})?(:([+-]?\d{1,18})?)?")
_LONG_RUN = 1 << 14
"""Contiguous bytes from which a run is read by itself, instead of all that lies between."""

Axes = tuple[range, ...]
"""For each axis of a tensor the indices that are taken."""


@dataclass(frozen=True)
class Slice:
    """A slice as it is written: integers, ranges with a step, and `...`."""

    text: str

    def __post_init__(self) -> None:
        self._items()

    @classmethod
    def from_recipe(cls, value: object, _folder: Path) -> Slice:
        """Read the text of a slice; raises ValueError if it is none."""
        if not isinstance(value, str):
            raise TypeError
        return cls(value)

    @classmethod
    def schema(cls) -> Mapping[str, object]:
        """Return its JSON Schema."""
        return {"type": "string", "minLength": 1}

    def __str__(self) -> str:
        return self.text

    def taken(self, shape: tuple[int, ...]) -> tuple[Axes, tuple[int, ...]]:
        """Return (the indices of each axis, the shape of what is taken) for a tensor's shape.

        Raises ValueError if the slice does not fit the shape, or takes nothing.
        """
        items = self._items()
        left = len(shape) - sum(item is not ... for item in items)
        if left < 0:
            raise ValueError(f"{self} has more axes than {list(shape)}")
        if ... not in items:
            items.append(...)
        place = items.index(...)
        items[place : place + 1] = [slice(None)] * left
        axes: Axes = tuple(
            _axis(item, size, self, shape) for item, size in zip(items, shape, strict=True)
        )
        found = tuple(len(a) for a, i in zip(axes, items, strict=True) if isinstance(i, slice))
        if 0 in found and 0 not in shape:
            raise ValueError(f"{self} takes nothing of {list(shape)}")
        return axes, found

    def _items(self) -> list[Any]:
        inner = self.text.strip()
        if not (inner.startswith("[") and inner.endswith("]")):
            raise ValueError(f"{self.text!r} is not a slice; write it as in NumPy: [:, 0:10]")
        return list(_parsed(inner[1:-1], self.text))


def _parsed(inner: str, text: str) -> Iterator[Any]:
    seen = False
    for part in inner.split(","):
        item = part.replace(" ", "")
        if not _ITEM.fullmatch(item):
            raise ValueError(
                f"{text!r} is not a slice: {part.strip()!r} is neither a whole number nor a range "
                "such as 0:10 or ::2, nor ..."
            )
        if item == "..." and seen:
            raise ValueError(f"{text!r} has ... twice")
        seen |= item == "..."
        if item == "...":
            yield ...
        elif ":" in item:
            bounds = [int(bound) if bound else None for bound in item.split(":")]
            if len(bounds) == 3 and bounds[2] == 0:
                raise ValueError(f"{text!r} has a step of 0")
            yield slice(*bounds)
        else:
            yield int(item)


def _axis(item: Any, size: int, text: Slice, shape: tuple[int, ...]) -> range:
    """Return the indices that an item takes; raises ValueError for one outside the axis."""
    if isinstance(item, slice):
        return range(size)[item]
    if not -size <= item < size:
        raise ValueError(f"{text} has the index {item}, and {list(shape)} has only {size} there")
    return range(item % size, item % size + 1)


def sliced(tensor: Tensor, axes: Axes, shape: tuple[int, ...]) -> Tensor:
    """Return the elements at these indices of each axis, as a tensor of that shape."""
    return Rearranged(in_pieces(tensor), _Reading(tensor.shape, axes).read, shape)


class _Reading:
    """The pieces, close together in the tensor, that a range of a slice is read in."""

    def __init__(self, shape: tuple[int, ...], axes: Axes) -> None:
        strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        # An axis in front keeps what follows free of special cases.
        self.counts = [1, *(len(axis) for axis in axes)]
        self.steps = [0, *(a.step * s for a, s in zip(axes, strides, strict=True))]
        self.first = sum(axis.start * s for axis, s in zip(axes, strides, strict=True))
        self.run = self._run(shape, axes)

    def _run(self, shape: tuple[int, ...], axes: Axes) -> int:
        """Return how many elements of the slice lie without a gap in the tensor, at least."""
        run = 1
        for axis, size in zip(reversed(axes), reversed(shape), strict=True):
            if axis.step != 1 and len(axis) > 1:
                break
            run *= len(axis)
            if len(axis) < size:
                break
        return run

    def read(self, tensor: Tensor, start: int, stop: int) -> Array:
        """Return elements `start` to `stop` of the slice, flat."""
        if self.run * tensor.dtype.itemsize >= _LONG_RUN:
            parts = self._runs(tensor, start, stop)
        else:
            parts = self._pieces(tensor, start, stop)
        return np.concatenate([*parts, np.empty(0, tensor.dtype)])

    def _runs(self, tensor: Tensor, start: int, stop: int) -> Iterator[Array]:
        while start < stop:
            place, size = self._place(start), min(self.run - start % self.run, stop - start)
            yield tensor.read(place, place + size)
            start += size

    def _place(self, index: int) -> int:
        """Return the flat index in the tensor of an element of the slice."""
        place = self.first
        for count, step in zip(reversed(self.counts), reversed(self.steps), strict=True):
            index, here = divmod(index, count)
            place += here * step
        return place

    def _pieces(self, tensor: Tensor, start: int, stop: int) -> Iterator[Array]:
        if start >= stop:
            return
        axis = next(a for a in range(len(self.counts)) if self._span(a + 1) <= CHUNK)
        row, count, step = math.prod(self.counts[axis + 1 :]), self.counts[axis], self.steps[axis]
        inside = self._inside(axis + 1)
        most = max(1, min(CHUNK // row, (CHUNK - self._span(axis + 1)) // max(1, abs(step)) + 1))
        number, last = start // row, -(-stop // row)
        while number < last:
            rows = min(most, count - number % count, last - number)
            places = self._place(number * row) + inside + step * np.arange(rows)[:, None]
            low, high = int(places.min()), int(places.max()) + 1
            taken = tensor.read(low, high)[(places - low).reshape(-1)]
            yield taken[max(0, start - number * row) : stop - number * row]
            number += rows

    def _span(self, axis: int) -> int:
        """Return how many elements lie between the first and last of the slice's inner axes."""
        inner = zip(self.counts[axis:], self.steps[axis:], strict=True)
        return 1 + sum((count - 1) * abs(step) for count, step in inner)

    def _inside(self, axis: int) -> Array:
        """Return the places of the elements of the inner axes, relative to the first."""
        places = np.zeros(1, np.int64)
        for count, step in zip(self.counts[axis:], self.steps[axis:], strict=True):
            places = (places[:, None] + step * np.arange(count)).reshape(-1)
        return places


class Replaced(Mapped):
    """A tensor with the elements of a slice taken from another tensor, of the slice's shape."""

    def __init__(self, before: Tensor, axes: Axes, values: Tensor) -> None:
        super().__init__(before, _putting(before.shape, axes, values))
        self.values = values

    @property
    def passes(self) -> int:
        """How many times writing this tensor reads the file."""
        return self.before.passes + self.values.passes

    @property
    def held(self) -> int:
        """The bytes that reading both tensors holds in memory, besides chunks."""
        return self.before.held + self.values.held

    def reductions(self) -> list[Reduction[Any]]:
        """Return the reductions of both tensors."""
        values = self.values.reductions() if isinstance(self.values, Mapped) else []
        return list(dict.fromkeys([*super().reductions(), *values]))


def _putting(shape: tuple[int, ...], axes: Axes, values: Tensor) -> ChunkFunction:
    """Make a chunk function that puts the values at the slice's indices."""
    turned = [range(len(axis))[::-1] if axis.step < 0 else range(len(axis)) for axis in axes]
    if any(axis.step < 0 for axis in turned):
        counts = tuple(len(axis) for axis in axes)
        flat = Mapped(values, lambda chunk, _: chunk, shape=counts)
        values = sliced(flat, tuple(turned), counts)
    ordered = tuple(axis[::-1] if axis.step < 0 else axis for axis in axes)
    inner = next(a for a in range(len(shape) + 1) if math.prod(shape[a:]) <= CHUNK)
    row = math.prod(shape[inner:])
    inside = _chosen(shape[inner:], ordered[inner:])

    def put(chunk: Array, start: int) -> Array:
        stop = start + chunk.size
        low, high = (_count_before(shape, ordered, place) for place in (start, stop))
        if low == high:
            return chunk
        first, last = start // max(1, row), -(-stop // max(1, row))
        rows = _chosen_rows(shape[:inner], ordered[:inner], first, last)
        where = (rows[:, None] & inside).reshape(-1)[start - first * row : stop - first * row]
        result = chunk.copy()
        result[where] = values.read(low, high)
        return result

    return put


def _chosen(shape: tuple[int, ...], axes: Axes) -> Array:
    """Return which elements of a whole array the indices take, flat."""
    chosen = np.ones(1, np.bool_)
    for size, axis in zip(shape, axes, strict=True):
        own = np.zeros(size, np.bool_)
        own[axis.start : axis.stop : axis.step] = True
        chosen = (chosen[:, None] & own).reshape(-1)
    return chosen


def _chosen_rows(shape: tuple[int, ...], axes: Axes, first: int, last: int) -> Array:
    """Return which of a range of the outer axes' flat indices are taken."""
    places = np.arange(first, last)
    chosen = np.ones(places.size, np.bool_)
    for size, axis in zip(reversed(shape), reversed(axes), strict=True):
        here = places % size
        chosen &= (here >= axis.start) & (here < axis.stop) & ((here - axis.start) % axis.step == 0)
        places = places // size
    return chosen


def _count_before(shape: tuple[int, ...], axes: Axes, place: int) -> int:
    """Return how many elements of the slice come before a flat index of the tensor."""
    if place >= math.prod(shape):
        return math.prod(len(axis) for axis in axes)
    found = 0
    for number, axis in enumerate(axes):
        here = place // math.prod(shape[number + 1 :]) % shape[number]
        below = len(range(axis.start, min(axis.stop, here), axis.step))
        found += below * math.prod(len(inner) for inner in axes[number + 1 :])
        if here not in axis:
            return found
    return found


def joined(parts: Sequence[Tensor], axis: int) -> Tensor:
    """Return the concatenation of tensors along an axis that they have; other axes must agree."""
    return Joined(parts, axis)


class Joined(Rearranged):
    """Tensors one behind the other along an axis."""

    def __init__(self, parts: Sequence[Tensor], axis: int) -> None:
        shape = parts[0].shape
        size = sum(part.shape[axis] for part in parts)
        self.parts = [in_pieces(part) for part in parts]
        self._outer = math.prod(shape[:axis])
        self._blocks = [math.prod(part.shape[axis:]) for part in parts]
        super().__init__(parts[0], self._read, (*shape[:axis], size, *shape[axis + 1 :]))

    @property
    def passes(self) -> int:
        """How many times writing this tensor reads a file."""
        return max(part.passes for part in self.parts)

    @property
    def held(self) -> int:
        """The bytes that reading the parts holds in memory, besides chunks."""
        return sum(part.held for part in self.parts)

    def reductions(self) -> list[Reduction[Any]]:
        """Return the reductions of all parts."""
        found = [r for part in self.parts if isinstance(part, Mapped) for r in part.reductions()]
        return list(dict.fromkeys(found))

    def _read(self, _before: Tensor, start: int, stop: int) -> Array:
        block = sum(self._blocks)
        if start >= stop:
            return np.empty(0, self.dtype)
        if block > CHUNK:
            return np.concatenate(list(self._runs(block, start, stop)))
        first, last = start // block, -(-stop // block)
        rows = [
            part.read(first * own, last * own).reshape(last - first, own)
            for part, own in zip(self.parts, self._blocks, strict=True)
        ]
        whole: Array = np.concatenate(rows, axis=1).reshape(-1)
        return whole[start - first * block : stop - first * block]

    def _runs(self, block: int, start: int, stop: int) -> Iterator[Array]:
        for outer in range(start // block, -(-stop // block)):
            place = outer * block
            for part, own in zip(self.parts, self._blocks, strict=True):
                low, high = max(start, place) - place, min(stop, place + own) - place
                if low < high:
                    yield part.read(outer * own + low, outer * own + high)
                place += own
