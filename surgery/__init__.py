"""Open, change and save trained TensorFlow and Keras models.

import surgery

surgery.run("recipe.yaml", lowest="20%").metrics  # what the command does, and found out
model = surgery.open("model.keras")               # lazy: nothing is read yet
model["dense/kernel"].tensor.numpy()
model = surgery.scale(model, "dense", by=2)       # every op is a function
surgery.save(model, keras="scaled.keras")
surgery.evaluate(model, data={"npz": "test.npz", "x": "x", "y": "y"})  # its loss and metrics
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from surgery.api import open, run, save
    from surgery.errors import RecipeError, SurgeryError
    from surgery.weights.model import Model
    from surgery.weights.weight import Weight

__version__ = "0.2.0"

__all__ = ["Model", "RecipeError", "SurgeryError", "Weight", "open", "run", "save"]


def __getattr__(name: str) -> object:
    """The names above, and every op as a function of a model; imported when first used."""
    if name.startswith("_"):
        raise AttributeError(name)
    for module in ("surgery.api", "surgery.errors"):
        if name in __all__ and hasattr(found := import_module(module), name):
            return getattr(found, name)
    if find_spec(f"surgery.{name}"):  # a room of ours, which is imported after this
        raise AttributeError(name)
    return import_module("surgery.api").op_function(name)
