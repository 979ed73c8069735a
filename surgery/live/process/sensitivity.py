"""The job that measures metrics while one weight at a time is pruned, perturbed or rounded."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from surgery.declared.data import Data
from surgery.live.process import feeding, models
from surgery.live.process.measuring import compiled
from surgery.live.process.pruning import largest
from surgery.live.requests import LiveFile
from surgery.weights.random import generator
from surgery.weights.tensor import Array

Change = Callable[[Array, str, tuple[int, str]], Array]

_STEPS = 32
"""The most batches that TensorFlow processes without returning to Python."""

_CACHED = 256 << 20
"""The most bytes of data that are kept in memory between measurements."""


def sensitivity(
    tell: Callable[..., None],
    file: LiveFile,
    data: Data,
    batch_size: int,
    compile: Mapping[str, Any],
    kind: str,
    points: Sequence[tuple[str, str]],
    seed_: int,
) -> dict[str, Any]:
    """Measure the model at each point (address, level); an empty address changes nothing.

    Every result is reported at once by `tell`. Weights are changed in place, one at a time, and
    restored.
    """
    model = compiled(file, compile)
    variables = dict(models.by_address(model, file))
    fed = feeding.feed(data, batch_size)
    model.steps_per_execution = min(fed.steps or 1, _STEPS)
    dataset = fed.dataset
    if sum(path.stat().st_size for path in data.inputs() if path.is_file()) < _CACHED:
        dataset = dataset.cache()
    for address, level in points:
        with _changed(variables.get(address), CHANGES[kind], level, (seed_, address)):
            found = model.evaluate(dataset, verbose=0, return_dict=True)
        metrics = {name: float(value) for name, value in found.items()}
        tell("point", weight=address, level=level, metrics=metrics)
    return {}


@contextlib.contextmanager
def _changed(variable: Any, change: Change, level: str, purpose: tuple[int, str]) -> Iterator[None]:
    """Change one variable inside the `with` block; None changes nothing."""
    if variable is None:
        yield
        return
    before = variable.numpy()
    variable.assign(change(before, level, purpose))
    yield
    variable.assign(before)


def _zero(values: Array, level: str, _purpose: Any) -> Array:
    return np.where(largest(values, Fraction(level)), values, np.zeros_like(values))


def _noise(values: Array, level: str, purpose: tuple[int, str]) -> Array:
    """Add Gaussian noise whose standard deviation is `level` times that of the weight."""
    seed, address = purpose
    drawn = generator(seed, "sensitivity", address, level).standard_normal(values.shape)
    wide = values.astype(np.float64)
    noisy: Array = wide + drawn * float(level) * wide.std()
    return noisy.astype(values.dtype)


def _bits(values: Array, level: str, _purpose: Any) -> Array:
    """Round to `level` bits, on a uniform grid from minus to plus the largest magnitude."""
    steps = 2 ** (int(level) - 1) - 1
    wide = values.astype(np.float64)
    top = float(np.abs(wide).max(initial=0.0))
    if not top or not steps:
        return np.zeros_like(values) if not steps else values
    rounded: Array = np.round(wide / top * steps) / steps * top
    return rounded.astype(values.dtype)


CHANGES: Mapping[str, Change] = {
    "zero": _zero,
    "noise": _noise,
    "bits": _bits,
}
