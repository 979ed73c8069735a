"""Live Keras models, loaded from a run's intermediate file, and their variables by path."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from surgery.errors import SurgeryError
from surgery.live.code import failure
from surgery.live.objects import tracked
from surgery.live.permission import may_run_code
from surgery.live.requests import LiveFile
from surgery.live.symbolic import reason

_LEFT_OUT = "Skipping variable loading for optimizer"
"""The start of Keras's warning about optimizer state that does not fit."""


def load(file: LiveFile, compiled: bool = False, goes_on: bool = False) -> Any:
    """Load the Keras model in a file; raises SurgeryError if Keras cannot.

    With `goes_on`, the optimizer's state must be loaded, too: Keras would only warn if it does not
    fit the variables.
    """
    import keras

    objects = file.code.custom_objects() if file.code else {}
    with warnings.catch_warnings():
        action: Literal["error", "ignore"] = "error" if goes_on and file.has_slots else "ignore"
        warnings.filterwarnings(action, message=_LEFT_OUT)
        if file.builds:
            with keras.saving.custom_object_scope(objects):
                return _built(file, compiled)
        return _keras(
            lambda: keras.saving.load_model(
                file.path, objects, compile=compiled, safe_mode=not may_run_code()
            )
        )


def _built(file: LiveFile, compiled: bool) -> Any:
    """Build a model by code, and load the file's weights and trainable flags.

    With `compiled`, it is compiled by the file's compile config.
    """
    assert file.code is not None
    model = file.code.model()
    flags = file.trained
    set_trainable(model, {id(v): flags[a] for a, v in by_address(model, file) if a in flags})
    if compiled and file.compile_config:
        _compile(model, file.compile_config)
    _keras(lambda: model.load_weights(file.path))
    for address, variable in others(model).items():
        variable.assign(np.load(file.others[address]))
    return model


def _compile(model: Any, config: Mapping[str, Any]) -> None:
    """Compile a model by a config; if its code already did, only build the optimizer."""
    from keras.src.saving.serialization_lib import SafeModeScope

    is_same = model.compiled and not model.optimizer.built and compile_config(model) == config
    if is_same:
        model.optimizer.build(model.trainable_variables)
        return
    with SafeModeScope(not may_run_code()):
        _keras(lambda: model.compile_from_config(copy.deepcopy(dict(config))))


def set_trainable(model: Any, flags: Mapping[int, bool]) -> None:
    """Set variables' trainable flags, by `id`; a layer with no trainable variable is frozen."""
    for layer in model._flatten_layers():
        own = [variable for variable in layer._trainable_variables if id(variable) in flags]
        for variable in own:
            variable.trainable = flags[id(variable)]
        if own and layer is not model:  # the public setter would also set the sublayers
            layer._trainable = any(variable.trainable for variable in own)
    if any(flags.values()):
        model._trainable = True


def compile_config(model: Any) -> dict[str, Any] | None:
    """Return the compile config that Keras would save; None if it cannot be saved."""
    try:
        config = model.get_compile_config() if model.compiled else None
        return json.loads(json.dumps(config)) if config else None
    except Exception:  # a custom loss may raise any exception
        return None


def save(model: Any, file: LiveFile, path: Path) -> Path:
    """Save a live model for the parent process; returns the path, with its suffix."""
    if file.builds:
        path = path.with_name(f"{path.name}.weights.h5")
        _keras(lambda: model.save_weights(path))
    else:
        path = path.with_name(f"{path.name}.keras")
        _keras(lambda: model.save(path))
    return path


def _keras(do: Any) -> Any:
    try:
        return do()
    except Exception as error:  # a layer's own code may raise any exception
        if _LEFT_OUT in str(error):
            raise SurgeryError(
                "the state of the model's optimizer does not fit the trainable weights; "
                "give optimizer, to start with a new one"
            ) from error
        raise SurgeryError(f"Keras cannot load the model: {advice(error)}") from error


def advice(error: Exception) -> str:
    """Return Keras's error message in a line, with advice if a custom class is unknown."""
    message = reason(error)
    text = " ".join(str(error).split())
    for mark in ("Could not locate class", "Unknown layer", "Could not locate function"):
        if mark in text:
            what = text[text.index(mark) :].partition(".")[0]
            return f"{what}; name its module: load: {{path: ..., custom_objects: [my.module]}}"
    return message if "--allow-code" in message else failure(error)


def others(model: Any) -> dict[str, Any]:
    """Return variables that TensorFlow tracks and Keras does not save (of a tf.Module), by path."""
    import tensorflow as tf

    known = {id(inner) for v in model.variables for inner in (v, getattr(v, "value", None))}
    found, paths, _ = tracked(model)
    return {
        "/".join(path): item
        for item, path in zip(found, paths, strict=True)
        if isinstance(item, tf.Variable) and id(item) not in known
    }


def variables(model: Any) -> Mapping[str, Any]:
    """Return the model's variables by the paths at which Keras saves them."""
    return _recorded(model)[0]


def owners(model: Any) -> Mapping[str, str]:
    """Return the names of the objects with variables, by path; the model's own is ""."""
    return _recorded(model)[1]


def _recorded(model: Any) -> tuple[dict[str, Any], dict[str, str]]:
    from keras.src.saving import saving_lib

    found: dict[str, Any] = {}
    names: dict[str, str] = {}

    class Recorder(saving_lib.H5IOStore):  # type: ignore[misc]
        """A fake HDF5 store that records where Keras would save each object's variables."""

        def __init__(self) -> None:
            """Open no file."""

        def __bool__(self) -> bool:
            return True

        def make(self, path: str, metadata: object = None) -> Mapping[str, Any]:
            """Return the mapping that takes the variables of one object."""
            path = path.replace("\\", "/")
            names[path] = metadata.get("name", "") if isinstance(metadata, dict) else ""
            return _Group(path, found)

    saving_lib._save_state(model, Recorder(), None, "", set())
    return found, names


class _Group(dict[str, Any]):
    def __init__(self, path: str, found: dict[str, Any]) -> None:
        super().__init__()
        self._path, self._found = path, found

    def __setitem__(self, name: str, value: Any) -> None:
        place = f"{self._path}/vars/{name}" if self._path else f"vars/{name}"
        self._found[place] = value


def by_address(model: Any, file: LiveFile) -> Iterator[tuple[str, Any]]:
    """Yield (address, live variable) of every weight; raises SurgeryError for a missing one."""
    there = variables(model)
    for address, places in file.stored.items():
        variable = next((there[place] for place in reversed(places) if place in there), None)
        if variable is None or not hasattr(variable, "assign"):
            raise SurgeryError(f"{address} is not a variable of the live model")
        yield address, variable
