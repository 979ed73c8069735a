"""Jobs that measure a live model: its metrics, its outputs, and its layers' outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from surgery.declared.data import Data
from surgery.errors import SurgeryError, did_you_mean
from surgery.live.process import feeding, models
from surgery.live.process.training import compile_model
from surgery.live.requests import LiveFile
from surgery.weights.globs import matches
from surgery.weights.random import generator
from surgery.weights.tensor import is_numpy_dtype

Tell = Callable[..., None]
_PROBES = 16
"""The number of random inputs, if no data are given."""


def evaluate(
    tell: Tell, file: LiveFile, data: Data, batch_size: int, compile: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the loss and metrics on data: {"metrics": {name: value}}."""
    fed = feeding.feed(data, batch_size)
    found = compiled(file, compile).evaluate(fed.dataset, verbose=0, return_dict=True)
    return {"metrics": {name: float(value) for name, value in found.items()}}


def compiled(file: LiveFile, compile: Mapping[str, Any]) -> Any:
    """Load the model, compiled by `compile` if that is not empty, else as it was saved.

    Raises SurgeryError if it was not compiled.
    """
    model = models.load(file, compiled=not compile)
    if compile:
        compile_model(model, compile)
    elif not model.compiled:
        raise SurgeryError("the model is not compiled; give loss, and metrics")
    return model


def predict(tell: Tell, file: LiveFile, data: Data, batch_size: int, to: Path) -> dict[str, Any]:
    """Write the outputs for every example, one array for each output; returns their files."""
    model = models.load(file)
    writer = _Rows(to)
    fed = feeding.feed(data, batch_size)
    for batch in _inputs(fed):
        made = model.predict_on_batch(batch)
        names = made if isinstance(made, Mapping) else None
        outputs = list(names.values()) if names else _listed(made)
        keys = list(names) if names else _output_names(model, len(outputs))
        writer.add(dict(zip(keys, outputs, strict=True)))
    return {"arrays": writer.close(), "files": list(fed.files)}


def activations(
    tell: Tell,
    file: LiveFile,
    data: Data,
    batch_size: int,
    layers: Sequence[str],
    to: Path | None,
) -> dict[str, Any]:
    """Compute statistics of layers' outputs over all examples, and write them all to `to`.

    Raises SurgeryError for a layer that is not called, or whose outputs are inside a loop.
    """
    import tensorflow as tf

    model = models.load(file)
    found = _named_layers(model, layers)
    run = tf.function(lambda batch: _caught(model, found, batch), reduce_retracing=True)
    writer = _Rows(to) if to else None
    totals: dict[str, Activity] = {}
    fed = feeding.feed(data, batch_size)
    for batch in _inputs(fed):
        try:
            outputs = {name: value.numpy() for name, value in run(batch).items()}
        except TypeError as error:  # TensorFlow's InaccessibleTensorError
            raise SurgeryError(
                "a cell is called inside a loop, where its outputs are not accessible; name the "
                "layer that contains it"
            ) from error
        for name, values in outputs.items():
            totals.setdefault(name, Activity()).add(values)
        if writer is not None:
            writer.add(outputs)
    missing = sorted(name for name in found if name not in totals and name in layers)
    if missing or not totals:
        missing = missing or sorted(found)
        raise SurgeryError(f"{missing[0]} is not called by the model")
    return {
        "layers": {name: totals[name].facts() for name in totals},
        "arrays": writer.close() if writer else {},
        "files": list(fed.files),
    }


def output_change(
    tell: Tell,
    file: LiveFile,
    other: LiveFile,
    data: Data | None,
    batch_size: int,
    seed_: int,
) -> dict[str, Any]:
    """Return the largest absolute difference between two models' outputs on the same inputs.

    Raises SurgeryError if the outputs differ in shape.
    """
    left, right = models.load(file), models.load(other)
    largest = 0.0
    if data is not None:
        batches = _inputs(feeding.feed(data, batch_size))
    else:
        batches = iter([_probes(left, seed_)])
    for batch in batches:
        for a, b in zip(
            _listed(left.predict_on_batch(batch)),
            _listed(right.predict_on_batch(batch)),
            strict=True,
        ):
            if a.shape != b.shape:
                raise SurgeryError(f"the outputs differ in shape: {a.shape} and {b.shape}")
            change = np.abs(a.astype(np.float64) - b.astype(np.float64))
            largest = max(largest, float(change.max(initial=0.0)), key=_nan_first)
    return {"change": largest}


def equivalence(
    tell: Tell,
    file: LiveFile,
    other: LiveFile,
    data: Data | None,
    examples: int,
    seed_: int,
    layers: Sequence[str],
) -> dict[str, Any]:
    """Return the largest max|a - b| / max|a| of an output between a model and another one.

    `file` holds b, `other` holds a. With `layers`, the outputs of these layers of a are compared
    with those of b. Raises SurgeryError where there is not the same number of outputs.
    """
    after, before = models.load(file), models.load(other)
    largest, output, count = 0.0, "", 0
    if data is not None:
        batches = _inputs(feeding.feed(data, 32))
    else:
        batches = iter([_drawn(before, seed_, examples)])
    for batch in batches:
        made = _leaves(after(_own_inputs(after, before, batch), training=False))
        if layers:
            caught = _caught(before, _named_layers(before, layers), batch)
            if missing := [name for name in layers if name not in caught]:
                raise SurgeryError(f"{missing[0]} is not called by the model")
            wanted = [(name, caught[name]) for name in layers]
        else:
            wanted = [
                (f"output {n}", x) for n, x in enumerate(_leaves(before(batch, training=False)))
            ]
        if len(made) != len(wanted):
            raise SurgeryError(f"there are {len(made)} outputs, and {len(wanted)} to compare with")
        count += len(np.asarray(made[0]))
        for (name, a), b in zip(wanted, made, strict=True):
            difference = _relative(np.asarray(a), np.asarray(b))
            if difference > largest or not output:
                largest, output = difference, name
    return {"difference": largest, "output": output, "examples": count}


def _own_inputs(model: Any, other: Any, batch: Any) -> Any:
    """Return those of another model's inputs that a model has, too."""
    import keras

    own, all_of_them = (getattr(each, "inputs", None) or () for each in (model, other))
    if len(own) == len(all_of_them):
        return batch
    by_name = dict(zip([each.name for each in all_of_them], _leaves(batch), strict=True))
    return keras.tree.pack_sequence_as(model._inputs_struct, [by_name[each.name] for each in own])


def _leaves(made: Any) -> list[Any]:
    import keras

    return list(keras.tree.flatten(made))


def _relative(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    """Return max|a - b| / max|a|; infinity for other shapes, and where only one has a NaN."""
    if a.shape != b.shape:
        return float("inf")
    a, b = a.astype(np.float64), b.astype(np.float64)
    if (np.isfinite(a) != np.isfinite(b)).any():
        return float("inf")
    difference = np.abs(np.nan_to_num(a) - np.nan_to_num(b)).max(initial=0.0)
    return float(difference / (np.abs(np.nan_to_num(a)).max(initial=0.0) or 1.0))


_FREE = 32
"""The size that a drawn input has along an axis whose size is free."""


def _drawn(model: Any, seed: int, examples: int) -> Any:
    """Return random inputs of the model's shapes: normal numbers, or integers that it can look up.

    Integers are below the smallest table of an Embedding in the model; the only input of a model
    that has one is made of integers, whatever its dtype. Raises SurgeryError for inputs that are
    text, and for a model without declared inputs.
    """
    import keras

    inputs = getattr(model, "inputs", None)
    if not inputs:
        raise SurgeryError("the model has no declared inputs; give data")
    tables = [x.input_dim for x in model._flatten_layers() if isinstance(x, keras.layers.Embedding)]
    made = []
    for number, each in enumerate(inputs):
        if each.dtype == "string":
            raise SurgeryError(f"the input {each.name} is text; give data")
        random = generator(seed, "equivalence", number)
        shape = (examples, *(_FREE if size is None else size for size in each.shape[1:]))
        is_float = "float" in each.dtype and not (tables and len(inputs) == 1)
        drawn = (
            random.standard_normal(shape)
            if is_float
            else random.integers(0, min(tables, default=2), shape)
        )
        made.append(keras.ops.cast(drawn, each.dtype))
    return keras.tree.pack_sequence_as(model._inputs_struct, made) if len(made) > 1 else made[0]


def _nan_first(value: float) -> float:
    return float("inf") if np.isnan(value) else value


class Activity:
    """Statistics of a layer's outputs over batches; a unit is an index of the last axis."""

    def __init__(self) -> None:
        self._count = self._zeros = 0
        self._total = 0.0
        self._alive: Any = None
        self._shape: list[int] = []

    def add(self, values: np.ndarray[Any, Any]) -> None:
        """Add a batch."""
        self._shape = list(values.shape[1:])
        self._count += values.size
        self._zeros += int(values.size - np.count_nonzero(values))
        self._total += float(values.sum(dtype=np.float64))
        last = values.shape[-1] if values.ndim > 1 else 1
        units = (values != 0).reshape(-1, last).any(axis=0)
        self._alive = units if self._alive is None else self._alive | units

    def facts(self) -> dict[str, Any]:
        """Return the shape of one output, the mean, the share of zeros, and dead and all units."""
        return {
            "shape": self._shape,
            "mean": self._total / self._count,
            "zeros": self._zeros / self._count,
            "dead_units": int((~self._alive).sum()),
            "units": len(self._alive),
        }


class _Rows:
    """Arrays that grow by rows, one file each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder.mkdir()
        self._files: dict[str, Any] = {}
        self._facts: dict[str, tuple[int, tuple[int, ...], np.dtype[Any]]] = {}

    def add(self, arrays: Mapping[str, Any]) -> None:
        """Append rows to every array."""
        for name, values in arrays.items():
            array = np.ascontiguousarray(values)
            if not is_numpy_dtype(array.dtype):  # bfloat16, which .npz files cannot store
                array = array.astype(np.float32)
            if name not in self._files:
                file = (self._folder / str(len(self._files))).open("wb")
                self._files[name] = file
                self._facts[name] = 0, array.shape[1:], array.dtype
            count, shape, dtype = self._facts[name]
            self._facts[name] = count + len(array), shape, dtype
            self._files[name].write(array.data)

    def close(self) -> dict[str, Any]:
        """Close the files, and return the path, shape and dtype of each array."""
        for file in self._files.values():
            file.close()
        return {
            name: {
                "path": str(self._files[name].name),
                "shape": [count, *shape],
                "dtype": dtype.name,
            }
            for name, (count, shape, dtype) in self._facts.items()
        }


def _inputs(fed: feeding.Feed) -> Iterator[Any]:
    for batch in fed.dataset:
        yield batch[0] if isinstance(batch, tuple) else batch


def _listed(made: Any) -> list[Any]:
    if isinstance(made, Mapping):
        return list(made.values())
    return list(made) if isinstance(made, list | tuple) else [made]


def _output_names(model: Any, count: int) -> list[str]:
    names = list(getattr(model, "output_names", None) or ())
    if count == 1:
        return ["y"]
    return names if len(names) == count else [f"y{number}" for number in range(count)]


def _named_layers(model: Any, wanted: Sequence[str]) -> dict[str, Any]:
    """Return {address: layer} for all patterns; raises SurgeryError if any matches no layer."""
    known = dict(_layers(model, ""))
    found: dict[str, Any] = {}
    for pattern in wanted:
        matched = {name: layer for name, layer in known.items() if matches(pattern, name)}
        if not matched:
            raise SurgeryError(f"the model has no layer {pattern!r}{did_you_mean(pattern, known)}")
        found |= matched
    return found


def _layers(layer: Any, parent: str) -> Iterator[tuple[str, Any]]:
    for inner in layer._flatten_layers(include_self=False, recursive=False):
        name = f"{parent}/{inner.name}" if parent else inner.name
        yield name, inner
        yield from _layers(inner, name)


def _caught(model: Any, layers: Mapping[str, Any], batch: Any) -> dict[str, Any]:
    """Return the layers' outputs in a call of the model; of several calls of a layer, the last."""
    caught: dict[str, Any] = {}

    def catching(name: str, call: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            made = call(*args, **kwargs)
            caught[name] = made[0] if isinstance(made, list | tuple) else made
            return made

        return wrapped

    for name, layer in layers.items():
        object.__setattr__(layer, "call", catching(name, type(layer).call.__get__(layer)))
    try:
        model(batch, training=False)
    finally:
        for layer in layers.values():
            object.__delattr__(layer, "call")
    return caught


def _probes(model: Any, seed: int) -> Any:
    """Return `_PROBES` random examples: an array, or a list of them for several inputs.

    Floats are uniform in [0, 1), integers 0 or 1.

    Raises SurgeryError if the model declares no inputs or an open shape.
    """
    try:
        inputs = model.inputs
    except (AttributeError, ValueError):
        inputs = None
    if not inputs:
        raise SurgeryError("the model has no declared inputs; give on: data")
    made = []
    for number, each in enumerate(inputs):
        if None in each.shape[1:]:
            raise SurgeryError(f"the input {each.name} has no fixed shape; give on: data")
        random = generator(seed, "probes", number)
        shape = (_PROBES, *each.shape[1:])
        is_float = np.dtype(each.dtype).kind == "f"
        values = random.random(shape) if is_float else random.integers(0, 2, shape)
        made.append(values.astype(each.dtype))
    return made[0] if len(made) == 1 else made
