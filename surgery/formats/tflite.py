"""`tflite`: LiteRT's (TensorFlow Lite's) files, written by Keras's own export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from surgery.architecture import Architecture
from surgery.errors import FormatError
from surgery.formats._exported import export_memory, export_problems, exported
from surgery.formats.base import Format, Output, register
from surgery.weights.model import Model


@register
@dataclass(frozen=True, kw_only=True)
class TFLite(Format):
    """A LiteRT (TensorFlow Lite) file, as Keras exports it; write-only."""

    name = "tflite"
    suffix = ".tflite"
    can_read = False

    def sniff(self, path: Path, head: bytes) -> bool:
        return head[4:8] == b"TFL3"

    def open(self, path: Path, architecture: Architecture | None = None) -> Model:
        raise FormatError(
            f"{path}: LiteRT files are written, not read; load the model it was made from"
        )

    def problems(self, model: Model) -> Sequence[str]:
        return list(export_problems(model))[:1]

    def needs_tensorflow(self, model: Model) -> bool:
        return True

    def memory(self, model: Model) -> int:
        return export_memory("tflite", model)

    def create(self, model: Model, path: Path) -> Output:
        return exported("tflite", model, path)
