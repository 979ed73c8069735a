"""Models that code builds: their variables, and what names them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from surgery.keras_bridge.code import Code
from surgery.keras_bridge.live import models
from surgery.keras_bridge.live.requests import LiveFile


def build(tell: Callable[..., None], code: Code, to: Path) -> dict[str, Any]:
    """Build a model and write it: whole where Keras can load it again, else its weights.

    `weights` has the address and the trainable flag of every variable by its place in the file.
    """
    model = code.model()
    whole = to.with_name(f"{to.name}.keras")
    path = models.save(model, LiveFile(to, {}, code), to)
    with contextlib.suppress(Exception):  # a config that does not say all there is to say
        import keras

        model.save(whole)
        keras.saving.load_model(whole, code.custom_objects(), compile=False)
        path = whole
    trained = {id(variable) for variable in model.trainable_variables}
    return {
        "path": path,
        "weights": {
            place: (address, id(variable) in trained) for place, address, variable in named(model)
        },
    }


def named(model: Any) -> Iterator[tuple[str, str, Any]]:
    """The place, the address and the variable itself: names as `get_layer` chains have them."""
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
    """The names of the layers on the way to an object, the model's own left out."""
    parts = path.split("/") if path else []
    for end in range(1, len(parts) + 1):
        name = owners.get("/".join(parts[:end]))
        if name:
            yield name
