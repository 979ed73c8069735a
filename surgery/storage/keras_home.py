"""Keras's own folder, with its settings and the weights that it downloads."""

from __future__ import annotations

import os
from pathlib import Path


def keras_home() -> Path:
    """Return Keras's folder: `$KERAS_HOME` or `~/.keras`."""
    return Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()


def keras_settings() -> str:
    """Return the text of Keras's settings file, keras.json; empty if there is none."""
    settings = keras_home() / "keras.json"
    return settings.read_text() if settings.is_file() else ""
