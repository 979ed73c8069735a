"""Opening of a keras.Model that the caller has in memory."""

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
    """Return whether a value is a model of Keras 3, without importing Keras."""
    keras = sys.modules.get("keras")
    return keras is not None and isinstance(value, keras.Model)


def opened(model: Any, open_model: Callable[[Path], Model]) -> Model:
    """Save a Keras model to a temporary file, and open that as a lazy model.

    The file is unlinked at once; the descriptors of its tensors keep its bytes while they are
    used. Raises SurgeryError if Keras cannot save the model.
    """
    if not model.built:
        raise SurgeryError(f"the model {model.name!r} has no variables yet; call it, or build it")
    with tempfile.TemporaryDirectory(prefix="surgery-", dir=scratch()) as folder:
        path = Path(folder) / "model.keras"
        try:
            model.save(path)
        except Exception as error:  # also from the user's own get_config
            raise SurgeryError(f"Keras does not save the model {model.name!r}: {error}") from error
        found = open_model(path)
    return replace(found, inputs=(), origin=f"the keras.Model {model.name!r}")
