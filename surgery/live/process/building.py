"""Jobs that build models by the user's code, and the addresses of their variables."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from surgery.errors import SurgeryError
from surgery.live.code import Code, Input, call_once
from surgery.live.objects import graph_of
from surgery.live.process import models
from surgery.live.requests import LiveFile


def complete(
    tell: Callable[..., None], path: Path, code: Code, inputs: Sequence[Input], to: Path
) -> dict[str, Any]:
    """Load a model that was saved without variables, call it once, and save it."""
    model = models.load(LiveFile(path, {}, code))
    call_once(model, inputs, str(path))
    return {"path": models.save(model, LiveFile(path, {}), to)}


def build(tell: Callable[..., None], code: Code, to: Path) -> dict[str, Any]:
    """Build a model by code and save it: whole if Keras can load it again, else its weights.

    Returns a dict: `weights` maps each variable's path in the file to (address, index in
    `model.weights`, whether trainable); `others` maps addresses of variables that Keras does not
    save to .npy files; `objects` is the object graph, or None; and `path` and `compile_config`.
    """
    import keras

    model = code.model()
    path = models.save(model, LiveFile(to, {}, code), to)
    with contextlib.suppress(Exception):  # a get_config that is incomplete
        whole = to.with_name(f"{to.name}.keras")
        model.save(whole)
        keras.saving.load_model(whole, code.custom_objects(), compile=False)
        path = whole
    others = models.others(model)
    files = {}
    for number, (address, variable) in enumerate(others.items()):
        files[address] = to.with_name(f"{to.name}-{number}.npy")
        np.save(files[address], variable.numpy())
    order = {id(variable): place for place, variable in enumerate(model.weights)}
    trained = {id(variable) for variable in model.trainable_variables}
    objects = None
    with contextlib.suppress(SurgeryError):  # without it, checkpoints are written by name
        objects = graph_of(model, [*model.weights, *others.values()])
    return {
        "path": path,
        "weights": {
            place: (address, order[id(variable)], id(variable) in trained)
            for place, address, variable in named(model)
            if id(variable) in order
        },
        "others": files,
        "objects": objects,
        "compile_config": models.compile_config(model),
    }


def named(model: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield (path in the weights file, address, variable); addresses are chains of layer names."""
    owners = models.owners(model)
    taken: set[str] = set()
    for place, variable in models.variables(model).items():
        path = place.rpartition("vars/")[0].rstrip("/")
        own = str(getattr(variable, "name", "")) or place.rpartition("/")[2]
        address = "/".join([*_chain(path, owners), own])
        if address in taken:
            address = place.replace("vars/", "")
        taken.add(address)
        yield place, address, variable


def _chain(path: str, owners: Mapping[str, str]) -> Iterator[str]:
    """Yield the names of the layers along a path, without the model's own."""
    parts = path.split("/") if path else []
    for end in range(1, len(parts) + 1):
        name = owners.get("/".join(parts[:end]))
        if name:
            yield name
