"""Channels of a weight: the index of each element's channel, and the norm of each channel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from surgery.architecture.axes import Axes, axes_of
from surgery.errors import SelectorError
from surgery.weights.model import Model
from surgery.weights.tensor import Array, Tensor, chunk_ranges
from surgery.weights.weight import Weight

Norm = Literal["l1", "l2", "max"]


@dataclass(frozen=True)
class Channels:
    """`count` channels that take turns along the flat order, in runs of `inner` elements."""

    count: int
    inner: int = 1

    def of(self, start: int, size: int) -> Array:
        """Return the channel index of each of `size` elements from flat index `start`."""
        index: Array = np.arange(start, start + size)
        if self.inner > 1:
            index //= self.inner
        index %= self.count
        return index

    def pick(self, each: Array, start: int, size: int) -> Array:
        """Return, for each element of a flat range, the entry of `each` for its channel."""
        return each if each.size == 1 else each[self.of(start, size)]

    def shifted(self, values: Array, exponents: Array, start: int) -> Array:
        """Return elements times 2^(the exponent of their channel), in float64."""
        wide = values.astype(np.float64, copy=False)
        with np.errstate(over="ignore"):
            powers = np.ldexp(1.0, exponents)
        if np.isfinite(powers).all() and (powers >= np.finfo(np.float64).tiny).all():
            result: Array = wide * self.pick(powers, start, values.size)  # exact, and fast
            return result
        return np.ldexp(wide, self.pick(exponents, start, values.size))


def whole(_weight: Weight) -> Channels:
    """Return a single channel that holds all elements."""
    return Channels(1)


def axes(model: Model, weight: Weight) -> Axes:
    """Return a weight's input and output axes, as its layer defines them."""
    owner = model.architecture.owner(weight.address) if model.architecture else None
    class_name, config = (owner.class_name, owner.config) if owner else ("", {})
    return axes_of(class_name, config, weight.variable, len(weight.tensor.shape))


def output_channels(model: Model, weight: Weight) -> Channels:
    """Return a weight's output channels; raises SelectorError if their axes are not adjacent."""
    shape, found = weight.tensor.shape, axes(model, weight)
    if not found.outputs:
        return Channels(1)
    first, last = found.outputs[0], found.outputs[-1]
    if found.outputs != tuple(range(first, last + 1)):
        raise SelectorError(
            f"{weight.address} is {list(shape)}, whose output axes "
            f"{list(found.outputs)} are not adjacent; narrow the selector"
        )
    count = math.prod(shape[first : last + 1])
    gates = found.gates if count % found.gates == 0 else 1
    return Channels(count // gates, math.prod(shape[last + 1 :]))


@dataclass(frozen=True)
class Norms:
    """The norm of each channel as `values` times 2^`exponents`.

    Norms beyond float64's range are represented, too.
    """

    values: Array
    exponents: Array

    @classmethod
    def of(cls, values: Array, exponents: Array | int = 0) -> Norms:
        """Normalise so that values are 0 or in [1/2, 1), with matching exponents."""
        parts, own = np.frexp(values)
        return cls(parts, own + exponents)

    def order(self) -> Array:
        """Return the channel indices from the lowest norm to the highest; the sort is stable."""
        exponents = np.where(self.values == 0, np.iinfo(self.exponents.dtype).min, self.exponents)
        return np.lexsort((self.values, exponents))


def norm_passes(tensor: Tensor, norm: Norm) -> int:
    """Return how many times `norms` reads a tensor."""
    return 2 if tensor.dtype == np.float64 and norm != "max" else 1


def norms(
    tensors: Sequence[Tensor],
    channels: Sequence[Channels],
    norm: Norm,
    pool: Executor | None = None,
) -> Norms:
    """Return the norm of each channel's finite elements, independent of the number of threads.

    The channels of all tensors are the same, and their elements are taken together. float64 is
    scaled by a power of two first, so that neither squares nor sums overflow or underflow.
    """
    exponents = np.zeros(channels[0].count, np.int32)
    if any(norm_passes(tensor, norm) > 1 for tensor in tensors):
        exponents = Norms.of(_total(tensors, channels, "max", exponents, pool)).exponents
    total = _total(tensors, channels, norm, exponents, pool)
    return Norms.of(np.sqrt(total) if norm == "l2" else total, exponents)


def _total(
    tensors: Sequence[Tensor],
    channels: Sequence[Channels],
    norm: Norm,
    exponents: Array,
    pool: Executor | None,
) -> Array:
    total = np.zeros(channels[0].count)
    combine: Callable[[Array, Array], Array] = np.maximum if norm == "max" else np.add
    for tensor, own in zip(tensors, channels, strict=True):
        look = partial(_partial, tensor, own, norm, exponents)
        for part in (pool.map if pool else map)(look, chunk_ranges(tensor.size)):
            total = combine(total, part)
    return total


def _partial(
    tensor: Tensor, channels: Channels, norm: Norm, exponents: Array, span: tuple[int, int]
) -> Array:
    values = np.abs(tensor.read(*span).astype(np.float64))
    values[~np.isfinite(values)] = 0
    if exponents.any():
        values = channels.shifted(values, -exponents, span[0])
    if norm == "l2":
        values *= values
    if channels.count == 1:
        return np.array([values.max() if norm == "max" else values.sum()])
    row = channels.count * channels.inner
    before = span[0] % row
    rows = math.ceil((before + values.size) / row)
    if rows * row > 4 * values.size + row:  # a row is longer than a chunk
        return _scattered(values, channels.of(span[0], values.size), channels.count, norm)
    padded = np.zeros(rows * row)
    padded[before : before + values.size] = values
    shaped = padded.reshape(rows, channels.count, channels.inner)
    found: Array = shaped.max(axis=(0, 2)) if norm == "max" else shaped.sum(axis=(0, 2))
    return found


def _scattered(values: Array, index: Array, count: int, norm: Norm) -> Array:
    result = np.zeros(count)
    (np.maximum if norm == "max" else np.add).at(result, index, values)
    return result
