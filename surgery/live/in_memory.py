"""A keras.Model that the caller has in memory."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from surgery.errors import SurgeryError
from surgery.storage.temporary import scratch
from surgery.weights.model import Model


def is_keras_model(value: object) -> bool:
    """Return whether that is a model of Keras 3; Keras is not imported for that."""
    keras = sys.modules.get("keras")
    return keras is not None and isinstance(value, keras.Model)


def opened(model: Any, open_model: Callable[[Path], Model]) -> Model:
    """Return what Keras saves of the model now, read from a file that is gone from its folder.

    The descriptor that tensors are read by keeps its bytes on disk for as long as they are used.
    """
    if not model.built:
        raise SurgeryError(f"the model {model.name!r} has no variables yet; call it, or build it")
    with tempfile.TemporaryDirectory(prefix="surgery-", dir=scratch()) as folder:
        path = Path(folder) / "model.keras"
        try:
            model.save(path)
        except Exception as error:  # of the user's own get_config, too
            raise SurgeryError(f"Keras does not save the model {model.name!r}: {error}") from error
        found = open_model(path)
    return replace(found, inputs=(), origin=f"the keras.Model {model.name!r}")
