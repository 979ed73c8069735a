"""`noise`: add random numbers."""

from __future__ import annotations

import math
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Literal

import numpy as np

from surgery.declaration import key
from surgery.ops._base import WeightOp, op
from surgery.weights.arithmetic import arithmetic, compute_dtype, need_floats
from surgery.weights.model import Model
from surgery.weights.statistics import of_tensor
from surgery.weights.tensor import Array, Mapped, Reduction
from surgery.weights.weight import Weight


@op
@dataclass(frozen=True, kw_only=True)
class Noise(WeightOp):
    """Add noise of mean zero to the selected weights."""

    std: float | None = key(
        "The noise's standard deviation.", 0.01, default=None, exclusiveMinimum=0, in_example=True
    )
    relative_std: float | None = key(
        "The same as a share of each weight's own standard deviation.",
        0.1,
        default=None,
        exclusiveMinimum=0,
    )
    distribution: Literal["normal", "uniform"] = key(
        "What it is drawn from; the uniform one reaches to std x sqrt(3) on both sides.",
        "uniform",
        default="normal",
    )

    def __post_init__(self) -> None:
        if (self.std is None) == (self.relative_std is None):
            raise ValueError("give either std or relative_std")

    def apply(self, model: Model) -> Model:
        weights = self.matched(model)
        need_floats(weights, self.name)
        return model.with_weights(weight.with_tensor(self._noisy(weight)) for weight in weights)

    def _noisy(self, weight: Weight) -> Mapped:
        tensor = weight.tensor
        drawn = self.draws.tensor(
            tensor.shape, compute_dtype(tensor.dtype), self._draw, weight.address
        )
        deviation = None
        if self.relative_std is not None:
            deviation = Reduction(lambda pool: _deviation(weight, pool), 1)

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


def _deviation(weight: Weight, _pool: Executor | None) -> float:
    return of_tensor(weight.tensor).std
