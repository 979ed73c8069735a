"""Saving of a model from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from surgery.api._calls import Logged
from surgery.errors import UsageError, did_you_mean
from surgery.execution.saving import save as write
from surgery.formats.base import FORMATS, format_for, formats
from surgery.recipe.language import Target
from surgery.recipe.parts import build_target
from surgery.weights.model import Model


def save(model: Model, path: str | Path | None = None, /, **targets: Any) -> None:
    """Write a model: all of its targets, or none.

    Args:
        model: the model to write.
        path: a file or folder, whose suffix determines the format: `save(model, "out.keras")`.
        targets: by format, a path or a mapping with the keys of a recipe's target:
            `save(model, npy="weights", safetensors={"path": "out", "shard": "2GB"})`.

    Raises FormatError, and writes nothing, if a format cannot store the model, or if the source
    does not match its own checksums.
    """
    wanted = [_by_name(path)] if path is not None else []
    wanted += [_target(name, given) for name, given in targets.items()]
    if not wanted:
        raise UsageError(
            'surgery.save needs a target; for example surgery.save(model, "out.keras")'
        )
    write(model, wanted, Logged("save", False))


def _by_name(path: str | Path) -> Target:
    """Return the target of a path whose suffix determines the format; raises UsageError."""
    name = format_for(Path(path))
    if name is None:
        raise UsageError(
            f"{path} has no suffix of a known format; give it by name, as in surgery.save(model, "
            f"npy={str(path)!r}); there are {', '.join(formats())}"
        )
    return build_target(name, path)


def _target(name: str, given: Any) -> Target:
    if FORMATS.find(name) is None:
        hint = did_you_mean(name, formats())
        raise UsageError(f"there is no format {name!r}{hint}; there are {', '.join(formats())}")
    return build_target(name, given)
