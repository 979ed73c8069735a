"""Targets that Keras itself exports, from a whole model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from surgery.errors import SurgeryError
from surgery.formats import _configs
from surgery.formats.base import Output
from surgery.formats.keras import Keras
from surgery.live.export import export
from surgery.live.objects import object_graph
from surgery.weights.model import Model

_TIMES = {"savedmodel": 5, "tflite": 10, "onnx": 10}
"""The memory of an export in multiples of the weights' bytes; measured on VGG16."""


def export_memory(kind: str, model: Model) -> int:
    """Return the bytes of memory that Keras's export takes."""
    return _TIMES[kind] * model.nbytes


def export_problems(model: Model) -> Iterator[str]:
    """Yield why Keras cannot export the model, as far as known without running it."""
    whole = list(Keras().problems(model))
    yield from whole
    if not whole and model.architecture is not None:
        try:
            object_graph(keras3_config(model))
        except SurgeryError as error:
            yield str(error)


def keras3_config(model: Model) -> dict[str, Any]:
    """Return the config from which Keras 3 builds the model."""
    ready = Keras().prepared(model)
    return _configs.as_keras3(ready.need_architecture("an export").config, ready.carried)


def exported(kind: str, model: Model, path: Path) -> Output:
    """Write a temporary `.keras` file beside the target, and export it by Keras on finish."""
    whole = path.with_name(f"{path.name}-model.keras")
    output = Keras().create(model.without_optimizer(), whole)

    def finish() -> None:
        output.finish()
        export(kind, whole, path)
        whole.unlink()

    def close() -> None:
        output.close()
        whole.unlink(missing_ok=True)

    return Output(output.tensors, finish, close)
