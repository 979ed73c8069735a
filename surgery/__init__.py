"""Open, change and save trained TensorFlow and Keras models.

import surgery

surgery.run("recipe.yaml", lowest="20%")          # what the command does
model = surgery.open("model.keras")               # lazy: nothing is read yet
model["dense/kernel"].tensor.numpy()
model = surgery.scale(model, "dense", by=2)       # every op is a function
surgery.save(model, keras="scaled.keras")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from surgery.api import open, run, save
    from surgery.errors import RecipeError, SurgeryError
    from surgery.weights.model import Model, Weight

__all__ = ["Model", "RecipeError", "SurgeryError", "Weight", "open", "run", "save"]


def __getattr__(name: str) -> object:
    """The names above, and every op as a function of a model; imported when first used."""
    from surgery import api, errors

    for module in (api, errors):
        if name in __all__ and hasattr(module, name):
            return getattr(module, name)
    return api.op_function(name)
