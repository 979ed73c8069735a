"""Keras's initialisers, with the same distributions, drawn lazily by chunk without Keras."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from surgery.errors import SurgeryError, did_you_mean
from surgery.weights.random import Draw, Randomness, generator
from surgery.weights.tensor import Array, Tensor, deferred

Shape = tuple[int, ...]

_VARIANCE_SCALING = {
    "GlorotUniform": (1.0, "fan_avg", "uniform"),
    "GlorotNormal": (1.0, "fan_avg", "truncated_normal"),
    "HeUniform": (2.0, "fan_in", "uniform"),
    "HeNormal": (2.0, "fan_in", "truncated_normal"),
    "LecunUniform": (1.0, "fan_in", "uniform"),
    "LecunNormal": (1.0, "fan_in", "truncated_normal"),
}
_SIMPLE = ("Zeros", "Ones", "Constant", "RandomUniform", "RandomNormal", "TruncatedNormal")
_STD_OF_TRUNCATED = 0.87962566103423978
"""The standard deviation of a standard normal truncated at two (Keras divides by it)."""


def initialized(
    class_name: str,
    config: Mapping[str, Any],
    shape: Shape,
    dtype: np.dtype[Any],
    seed: int,
    *purpose: str,
) -> Tensor:
    """Return a tensor drawn as by a Keras initialiser of that class and config.

    `purpose` (the step, then e.g. an address) selects the random numbers, with the seed. Raises
    SurgeryError for an unknown class or a shape of the wrong rank.
    """
    step, *rest = purpose
    if class_name in _WHOLE:
        make = _WHOLE[class_name]
        _check_dimensions(class_name, shape)
        return deferred(shape, dtype, lambda: make(generator(seed, *purpose), config, shape))
    return Randomness(seed, step).tensor(shape, dtype, _draw(class_name, config, shape), *rest)


def _check_dimensions(class_name: str, shape: Shape) -> None:
    if class_name.startswith("Orthogonal") and len(shape) < 2:
        raise SurgeryError(f"Orthogonal needs two dimensions or more, not {list(shape)}")
    if class_name.startswith("Identity") and len(shape) != 2:
        raise SurgeryError(f"Identity needs two dimensions, not {list(shape)}")


def fans(shape: Shape) -> tuple[int, int]:
    """Return the fan-in and fan-out of a kernel, as Keras computes them."""
    if len(shape) < 2:
        size = shape[0] if shape else 1
        return size, size
    receptive = math.prod(shape[:-2])
    return shape[-2] * receptive, shape[-1] * receptive


def _draw(class_name: str, config: Mapping[str, Any], shape: Shape) -> Draw:
    if class_name in ("Zeros", "Ones", "Constant"):
        value = {"Zeros": 0.0, "Ones": 1.0}.get(class_name, config.get("value", 0.0))
        return lambda _, size: np.full(size, value, np.float32)
    if class_name == "RandomUniform":
        low, high = config.get("minval", -0.05), config.get("maxval", 0.05)
        return _uniform(low, high)
    if class_name in ("RandomNormal", "TruncatedNormal"):
        mean, std = config.get("mean", 0.0), config.get("stddev", 0.05)
        draw = _truncated if class_name == "TruncatedNormal" else _normal
        return lambda random, size: draw(random, size) * np.float32(std) + np.float32(mean)
    if class_name in _VARIANCE_SCALING:
        return _variance_scaling(*_VARIANCE_SCALING[class_name], shape)
    if class_name == "VarianceScaling":
        scale, mode = config.get("scale", 1.0), config.get("mode", "fan_in")
        return _variance_scaling(scale, mode, config.get("distribution", "truncated_normal"), shape)
    known = [*_VARIANCE_SCALING, "VarianceScaling", *_SIMPLE, "Orthogonal", "Identity"]
    hint = did_you_mean(class_name, known)
    raise SurgeryError(
        f"the initialiser {class_name} is unknown{hint}; there are {', '.join(sorted(known))}"
    )


def _orthogonal(random: np.random.Generator, config: Mapping[str, Any], shape: Shape) -> Array:
    """Draw orthogonal rows or columns (Saxe et al. 2013), by QR of a normal matrix."""
    rows, columns = math.prod(shape[:-1]), shape[-1]
    normal = random.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(normal)
    q *= np.sign(np.diag(r))
    matrix: Array = (q if rows >= columns else q.T) * config.get("gain", 1.0)
    return matrix.reshape(shape)


def _identity(_random: np.random.Generator, config: Mapping[str, Any], shape: Shape) -> Array:
    matrix: Array = np.eye(shape[0], shape[1]) * config.get("gain", 1.0)
    return matrix


def _unit_forget_bias(
    random: np.random.Generator, config: Mapping[str, Any], shape: Shape
) -> Array:
    """Draw an LSTM's bias by its initialiser, with ones for the forget gate."""
    class_name, own = config.get("bias_initializer", ("Zeros", {}))
    bias = _draw(class_name, own, shape)(random, math.prod(shape)).reshape(4, -1)
    bias[1] = 1
    return bias.reshape(shape)


_WHOLE: Mapping[str, Callable[[np.random.Generator, Mapping[str, Any], Shape], Array]] = {
    "Orthogonal": _orthogonal,
    "OrthogonalInitializer": _orthogonal,
    "Identity": _identity,
    "IdentityInitializer": _identity,
    "UnitForgetBias": _unit_forget_bias,
}
"""The initialisers whose tensors must be drawn whole, in memory."""


def _variance_scaling(scale: float, mode: str, distribution: str, shape: Shape) -> Draw:
    fan_in, fan_out = fans(shape)
    fan = {"fan_in": fan_in, "fan_out": fan_out}.get(mode, (fan_in + fan_out) / 2)
    variance = scale / max(1.0, fan)
    if distribution == "uniform":
        limit = math.sqrt(3 * variance)
        return _uniform(-limit, limit)
    if distribution == "untruncated_normal":
        return lambda random, size: _normal(random, size) * np.float32(math.sqrt(variance))
    std = np.float32(math.sqrt(variance) / _STD_OF_TRUNCATED)
    return lambda random, size: _truncated(random, size) * std


def _uniform(low: float, high: float) -> Draw:
    def draw(random: np.random.Generator, size: int) -> Array:
        values = random.random(size, np.float32)
        values *= np.float32(high - low)
        values += np.float32(low)
        return values

    return draw


def _normal(random: np.random.Generator, size: int) -> Array:
    return random.standard_normal(size, np.float32)


def _truncated(random: np.random.Generator, size: int) -> Array:
    """Draw from a standard normal truncated at two standard deviations."""
    values = _normal(random, size)
    while (beyond := np.flatnonzero(np.abs(values) > 2)).size:
        values[beyond] = _normal(random, beyond.size)
    return values
