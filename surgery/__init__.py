"""Open, change and save trained TensorFlow and Keras models.

import surgery

surgery.run("recipe.yaml", lowest="20%").metrics  # run a recipe, return its metrics
model = surgery.open("model.keras")               # lazy: nothing is read yet
model["dense/kernel"].numpy()
model = surgery.scale(model, "dense", by=2)       # every op is a function
model.save("scaled.keras")
surgery.evaluate(model, data={"npz": "test.npz", "x": "x", "y": "y"})  # its loss and metrics
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from surgery.version import __version__

_MODULES = {
    "api.inspection": ("Difference", "diff", "inspect"),
    "api.models": ("Layer", "Model", "open"),
    "api.recipes": ("Plan", "Result", "Sweep", "convert", "plan", "run", "sweep"),
    "api.saving": ("save",),
    "errors": ("ExpectationError", "FormatError", "RecipeError", "SelectorError", "SurgeryError",
               "UsageError"),
    "weights.weight": ("Weight",),
}  # fmt: skip
"""The modules of the public names, imported on first use; each op is a function, too."""

_PLACES = {name: f"surgery.{module}" for module, names in _MODULES.items() for name in names}

__all__ = ["__version__", *_PLACES]  # noqa: PLE0604 - all are strings


def __getattr__(name: str) -> object:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    # `surgery.ops` and other subpackages are asked for here before they are imported.
    if name.startswith("_") or find_spec(f"surgery.{name}"):
        raise AttributeError(f"module 'surgery' has no attribute {name!r}")
    return import_module("surgery.api.operations").op_function(name)


def __dir__() -> list[str]:
    return sorted(["__version__", *_PLACES, *import_module("surgery.ops.base").ops()])
