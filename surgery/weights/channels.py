"""Channels of a weight: which elements belong to one, and sums over each."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from surgery.weights.model import Model
from surgery.weights.tensor import Array, Tensor, spans
from surgery.weights.weight import Weight

Norm = Literal["l1", "l2", "max"]


@dataclass(frozen=True)
class Channels:
    """`count` channels of which each holds runs of `inner` elements, in turn."""

    count: int
    inner: int = 1

    def of(self, start: int, size: int) -> Array:
        """The channel of every element of a flat range."""
        index: Array = np.arange(start, start + size)
        if self.inner > 1:
            index //= self.inner
        index %= self.count
        return index


def whole(_weight: Weight) -> Channels:
    """All elements in one."""
    return Channels(1)


def output_channels(model: Model, weight: Weight) -> Channels:
    """A weight's output channels, where Keras's layers keep them.

    That is the last axis, but in kernels of transposed convolutions the one before it, and in
    depthwise ones the last two.
    """
    shape = weight.tensor.shape
    if not shape:
        return Channels(1)
    owner = model.architecture.owner(weight.address) if model.architecture else None
    class_name = owner.class_name if owner else ""
    if len(shape) > 2 and class_name.endswith("Transpose"):
        return Channels(shape[-2], shape[-1])
    if len(shape) > 2 and (
        class_name.startswith("Depthwise") or weight.variable == "depthwise_kernel"
    ):
        return Channels(shape[-2] * shape[-1])
    return Channels(shape[-1])


def norms(tensor: Tensor, channels: Channels, norm: Norm, pool: Executor | None = None) -> Array:
    """The norm of each channel's finite elements, in float64, whatever the threads."""
    look = partial(_partial, tensor, channels, norm)
    total = np.zeros(channels.count)
    combine: Callable[[Array, Array], Array] = np.maximum if norm == "max" else np.add
    for part in (pool.map if pool else map)(look, spans(tensor.size)):
        total = combine(total, part)
    return np.sqrt(total) if norm == "l2" else total


def _partial(tensor: Tensor, channels: Channels, norm: Norm, span: tuple[int, int]) -> Array:
    values = np.abs(tensor.read(*span).astype(np.float64))
    values[~np.isfinite(values)] = 0
    if norm == "l2":
        with np.errstate(over="ignore", under="ignore"):
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
