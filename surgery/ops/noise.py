"""`noise`: add random numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Literal

import numpy as np

from surgery.declared.fields import key
from surgery.ops._slices import SlicedFloatOp
from surgery.ops.base import op
from surgery.weights.arithmetic import arithmetic, compute_dtype
from surgery.weights.channels import Channels, norm_passes, norms
from surgery.weights.model import Model
from surgery.weights.statistics import of_tensor
from surgery.weights.tensor import Array, FunctionTensor, Mapped, Reduction, Tensor
from surgery.weights.weight import Weight


@op
@dataclass(frozen=True, kw_only=True)
class Noise(SlicedFloatOp):
    """Add noise of mean zero to the selected weights."""

    std: float | None = key(
        "The standard deviation of the noise.",
        0.01,
        default=None,
        exclusiveMinimum=0,
        in_example=True,
    )
    relative_std: float | None = key(
        "The standard deviation of the noise, divided by that of each weight.",
        0.1,
        default=None,
        exclusiveMinimum=0,
    )
    distribution: Literal["normal", "uniform"] = key(
        "The distribution; uniform is on [-std x sqrt(3), std x sqrt(3)].",
        "uniform",
        default="normal",
    )

    def __post_init__(self) -> None:
        if (self.std is None) == (self.relative_std is None):
            raise ValueError("give either std or relative_std")

    def changed(self, model: Model, weights: Sequence[Weight]) -> Model:
        return model.with_weights(weight.with_tensor(self._noisy(weight)) for weight in weights)

    def _noisy(self, weight: Weight) -> Mapped:
        tensor = weight.tensor
        drawn = self.draws.tensor(
            tensor.shape, compute_dtype(tensor.dtype), self._draw, weight.address
        )
        deviation = None
        if self.relative_std is not None:
            passes = norm_passes(tensor, "l2")
            deviation = Reduction(lambda pool: _deviation(tensor, pool), passes)

        def add(values: Array, start: int) -> Array:
            own = deviation.result() if deviation else 1.0
            std = (self.std or self.relative_std or 0.0) * own
            noise = drawn.read(start, start + values.size)
            return arithmetic(lambda wide: wide + noise * wide.dtype.type(std))(values, start)

        return Mapped(tensor, add, deviation)

    def _draw(self, random: np.random.Generator, size: int) -> Array:
        if self.distribution == "normal":
            return random.standard_normal(size, np.float32)
        return (random.random(size, np.float32) * 2 - 1) * np.float32(math.sqrt(3))


def _deviation(tensor: Tensor, pool: Executor | None) -> float:
    """Return the standard deviation of the finite elements; float64 is scaled against overflow."""
    if tensor.dtype != np.float64:
        return of_tensor(tensor).std
    exponent = norms([tensor], [Channels(1)], "max", pool).exponents

    def scaled(start: int, stop: int) -> Array:
        return Channels(1).shifted(tensor.read(start, stop), -exponent, start)

    return float(
        np.ldexp(of_tensor(FunctionTensor(tensor.shape, tensor.dtype, scaled)).std, exponent[0])
    )
