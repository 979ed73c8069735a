"""`onnx`: ONNX files, written by Keras's own export."""

from __future__ import annotations

import importlib.util
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
class Onnx(Format):
    """An ONNX file, as Keras exports it; write-only, with tf-surgery[onnx]."""

    name = "onnx"
    suffix = ".onnx"
    can_read = False

    def sniff(self, path: Path, head: bytes) -> bool:
        return head[:1] == b"\x08" and path.suffix == ".onnx"

    def open(self, path: Path, architecture: Architecture | None = None) -> Model:
        raise FormatError(
            f"{path}: ONNX files are written, not read; load the model that it was made from"
        )

    def problems(self, model: Model) -> Sequence[str]:
        missing = [name for name in ("tf2onnx", "onnx") if importlib.util.find_spec(name) is None]
        if missing:
            return [f"{' and '.join(missing)} are not installed: pip install 'tf-surgery[onnx]'"]
        return list(export_problems(model))[:1]

    def needs_tensorflow(self, model: Model) -> bool:
        return True

    def memory(self, model: Model) -> int:
        return export_memory("onnx", model)

    def create(self, model: Model, path: Path) -> Output:
        return exported("onnx", model, path)
