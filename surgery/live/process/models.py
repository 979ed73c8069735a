"""A live model from the file that a chain of steps has made so far, and its variables by place."""

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
"""What Keras says of an optimizer's state that does not fit."""


def load(file: LiveFile, compiled: bool = False, goes_on: bool = False) -> Any:
    """The Keras model in a file; raises SurgeryError where Keras cannot make it.

    One that `goes_on` has the optimizer's state, too, which Keras leaves out with a warning
    where it does not fit.
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
    """The model that code builds, with the weights, the flags and the compile config of a file."""
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
    """Compile a model as its code has done it, or by a config where that is another one."""
    from keras.src.saving.serialization_lib import SafeModeScope

    is_same = model.compiled and not model.optimizer.built and compile_config(model) == config
    if is_same:
        model.optimizer.build(model.trainable_variables)
        return
    with SafeModeScope(not may_run_code()):
        _keras(lambda: model.compile_from_config(copy.deepcopy(dict(config))))


def set_trainable(model: Any, flags: Mapping[int, bool]) -> None:
    """Have variables, by their ids, trained or not; a layer is frozen if all of its own are."""
    for layer in model._flatten_layers():
        own = [variable for variable in layer._trainable_variables if id(variable) in flags]
        for variable in own:
            variable.trainable = flags[id(variable)]
        if own and layer is not model:  # the setter would pass it on to the layers inside
            layer._trainable = any(variable.trainable for variable in own)
    if any(flags.values()):
        model._trainable = True


def compile_config(model: Any) -> dict[str, Any] | None:
    """Return the compile config that Keras would save; None where it cannot be saved."""
    try:
        config = model.get_compile_config() if model.compiled else None
        return json.loads(json.dumps(config)) if config else None
    except Exception:  # a loss of the user's may be anything
        return None


def save(model: Any, file: LiveFile, path: Path) -> Path:
    """Write a live model where the other side can open it; returns the file's name."""
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
    except Exception as error:  # Keras raises whatever a layer's own code does
        if _LEFT_OUT in str(error):
            raise SurgeryError(
                "the state of the model's optimizer does not fit the weights that are trained; "
                "give optimizer, for a new one"
            ) from error
        raise SurgeryError(f"Keras cannot make the model live: {advice(error)}") from error


def advice(error: Exception) -> str:
    """What Keras says, and what to do where it does not know a class."""
    said = reason(error)
    text = " ".join(str(error).split())
    for mark in ("Could not locate class", "Unknown layer", "Could not locate function"):
        if mark in text:
            what = text[text.index(mark) :].partition(".")[0]
            return f"{what}; name its module: load: {{path: ..., custom_objects: [my.module]}}"
    return said if "--allow-code" in said else failure(error)


def others(model: Any) -> dict[str, Any]:
    """Variables that TensorFlow tracks and Keras does not save (those of a tf.Module)."""
    import tensorflow as tf

    known = {id(inner) for v in model.variables for inner in (v, getattr(v, "value", None))}
    found, paths, _ = tracked(model)
    return {
        "/".join(path): item
        for item, path in zip(found, paths, strict=True)
        if isinstance(item, tf.Variable) and id(item) not in known
    }


def variables(model: Any) -> Mapping[str, Any]:
    """The model's variables by the places where Keras saves them."""
    return _recorded(model)[0]


def owners(model: Any) -> Mapping[str, str]:
    """The names of the objects that have variables, by their places; the model's is empty."""
    return _recorded(model)[1]


def _recorded(model: Any) -> tuple[dict[str, Any], dict[str, str]]:
    from keras.src.saving import saving_lib

    found: dict[str, Any] = {}
    names: dict[str, str] = {}

    class Recorder(saving_lib.H5IOStore):  # type: ignore[misc]
        """Takes down which object Keras would save where."""

        def __init__(self) -> None:
            """Opens nothing."""

        def __bool__(self) -> bool:
            return True

        def make(self, path: str, metadata: object = None) -> Mapping[str, Any]:
            """What takes the variables of one object."""
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
    """The live variable of every weight; raises SurgeryError for one that is not found."""
    there = variables(model)
    for address, places in file.stored.items():
        variable = next((there[place] for place in reversed(places) if place in there), None)
        if variable is None or not hasattr(variable, "assign"):
            raise SurgeryError(f"{address} is not a variable of the live model")
        yield address, variable
