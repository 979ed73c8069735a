"""Callbacks of a training: the clock, and the state that makes a killed training resumable."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from surgery.errors import SurgeryError
from surgery.live.process.feeding import Clock
from surgery.storage.disk import sync
from surgery.weights.tensor import dtype_named

_STATE = "state.json"
_ARRAYS = "arrays"


class Ticker(keras.callbacks.Callback):  # type: ignore[misc]
    """A callback that sets the clock, seeds Python's and NumPy's random numbers, and reports."""

    def __init__(self, clock: Clock, seed: int, epochs: int, tell: Callable[..., None]) -> None:
        super().__init__()
        self._clock, self._seed, self._epochs, self._tell = clock, seed, epochs, tell

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        """Set the clock, which determines the order of examples, and seed; report the epoch."""
        self._clock.epoch = epoch
        random.seed(f"{self._seed} {epoch}")
        np.random.seed((self._seed + epoch) % 2**32)
        self._tell("epoch begun", number=epoch + 1, of=self._epochs)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Report the epoch's metrics; raises SurgeryError if the loss is not finite."""
        for name, value in (logs or {}).items():
            if name == "loss" and not math.isfinite(float(value)):
                raise SurgeryError(
                    f"the loss is {float(value)} after epoch {epoch + 1}; lower the learning rate, "
                    "or check the data"
                )
        found = {name: float(f"{float(value):.4g}") for name, value in (logs or {}).items()}
        self._tell("epoch", number=epoch + 1, of=self._epochs, **found)


class Resume(keras.callbacks.Callback):  # type: ignore[misc]
    """A callback that saves the state of training after each epoch, and resumes from it.

    The state is the weights, the optimizer, seed generators, masks, the callbacks' attributes, and
    whether one of them has stopped the training. It must be the last callback. `epoch` is the
    epoch to resume from, 0 for a new training.
    """

    def __init__(
        self, folder: Path, callbacks: Sequence[Any], masks: Sequence[Sequence[Any]]
    ) -> None:
        super().__init__()
        self.history: dict[str, list[float]] = {}
        self.stopped = False
        self._folder = folder
        self._callbacks = callbacks
        self._masks = [mask for group in masks for mask in group]
        self._masks += [mask for each in callbacks for mask in getattr(each, "masks", ())]
        self._left = self._kept()
        self.epoch = 0
        if self._left is not None:
            state = json.loads((self._left / _STATE).read_text())
            self.epoch, self.stopped = state["epoch"], state["stopped"]
            self.history, self._states = state["history"], state["callbacks"]

    def _variables(self, model: Any) -> list[Any]:
        from keras.src.random import seed_generator

        own = [*model.variables, *model.optimizer.variables]
        return [*own, seed_generator.global_seed_generator().state, *self._masks]

    def on_train_begin(self, logs: object = None) -> None:
        """Restore the saved state; the other callbacks have reset themselves by now."""
        if self._left is None:
            return
        arrays = _Arrays(self._left / _ARRAYS)
        for number, variable in enumerate(self._variables(self.model)):
            variable.assign(arrays.read(number))
        for callback, state in zip(self._callbacks, self._states, strict=True):
            vars(callback).update(_values(state, arrays))

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Save the state beside that of the epoch before, then remove the latter."""
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        new = self._folder / f"epoch-{epoch + 1}"
        begun = self._folder / ".new"
        shutil.rmtree(begun, ignore_errors=True)
        (begun / _ARRAYS).mkdir(parents=True)
        arrays = _Arrays(begun / _ARRAYS)
        for variable in self._variables(self.model):
            arrays.add(np.asarray(variable.numpy()))
        state = {
            "epoch": epoch + 1,
            "stopped": bool(self.model.stop_training),
            "history": self.history,
            "callbacks": [_encoded(vars(each), arrays) for each in self._callbacks],
        }
        (begun / _STATE).write_text(json.dumps(state))
        for file in begun.rglob("*"):
            if file.is_file():
                sync(file)
        os.rename(begun, new)
        sync(self._folder)
        if self._left is not None:
            shutil.rmtree(self._left, ignore_errors=True)
        self._left = new

    def _kept(self) -> Path | None:
        kept = list(self._folder.glob("epoch-*"))
        return max(kept, key=lambda path: int(path.name.partition("-")[2]), default=None)


class _Arrays:
    """Arrays in a folder, by number, of any dtype that Keras has."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def add(self, array: np.ndarray[Any, Any]) -> int:
        """Save an array; returns its number."""
        number, self._count = self._count, self._count + 1
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        name = f"{number}.{array.dtype.name}.{'x'.join(map(str, array.shape))}"
        np.save(self._folder / name, flat)
        os.rename(self._folder / f"{name}.npy", self._folder / name)
        return number

    def read(self, number: int) -> np.ndarray[Any, Any]:
        """Return the array of that number."""
        (path,) = self._folder.glob(f"{number}.*")
        _, dtype, shape = path.name.split(".")
        flat: np.ndarray[Any, Any] = np.load(path)
        return flat.view(dtype_named(dtype)).reshape([int(n) for n in shape.split("x") if n])


def _encoded(state: Mapping[str, Any], arrays: _Arrays) -> dict[str, Any]:
    """Return the callback's attributes that are plain values or arrays, as JSON."""
    plain = ((name, _plain(value, arrays)) for name, value in state.items() if name != "_model")
    return {name: value for name, value in plain if value is not _OTHER}


_OTHER = object()


def _plain(value: Any, arrays: _Arrays) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float | np.floating | np.integer):
        return {"float": float(value).hex()} if isinstance(value, float) else _number(value)
    if callable(value) and value in (
        keras.ops.less,
        keras.ops.greater,
    ):  # EarlyStopping and others keep one of these as monitor_op
        return {"op": value.__name__}
    if isinstance(value, list) and value and all(isinstance(v, np.ndarray) for v in value):
        return {"arrays": [arrays.add(v) for v in value]}
    return _OTHER


def _number(value: Any) -> dict[str, str]:
    return {"number": value.dtype.name, "bytes": value.tobytes().hex()}


def _values(state: Mapping[str, Any], arrays: _Arrays) -> Iterator[tuple[str, Any]]:
    for name, value in state.items():
        if not isinstance(value, dict):
            yield name, value
        elif "float" in value:
            yield name, float.fromhex(value["float"])
        elif "op" in value:
            yield name, getattr(keras.ops, value["op"])
        elif "arrays" in value:
            yield name, [arrays.read(number) for number in value["arrays"]]
        else:
            yield name, np.frombuffer(bytes.fromhex(value["bytes"]), value["number"])[0]
