"""`graphdef`: frozen graphs of TensorFlow, whose weights are constants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from surgery.architecture import Architecture
from surgery.errors import FormatError
from surgery.formats._tensorflow.fields import NodeDef
from surgery.formats._tensorflow.graph import (
    GraphContainer,
    constant_problems,
    read_constants,
    written,
)
from surgery.formats._tensorflow.proto import check_depth, located
from surgery.formats.base import Format, Output, register
from surgery.storage import disk
from surgery.weights.model import Model


@register
class GraphDef(Format):
    """A frozen graph (`.pb`) of TensorFlow, edited in place."""

    name = "graphdef"
    suffix = ".pb"
    holds_states = True

    def sniff(self, path: Path, head: bytes) -> bool:
        if path.is_dir() or head[:1] != b"\x0a":
            return False
        data = disk.contents(path)
        try:
            node = next(located(data))
            inner = [field.number for field in located(data, node.start, node.stop)]
        except (ValueError, IndexError):
            return False
        return inner[:2] == [NodeDef.NAME, NodeDef.OP]

    def open(self, path: Path, architecture: Architecture | None = None) -> Model:
        try:
            check_depth(disk.contents(path))
            model = read_constants(path)
        except (ValueError, IndexError) as error:
            raise FormatError(f"{path} is damaged, or not a graph: {error}") from None
        return replace(model, format="graphdef")

    def problems(self, model: Model) -> Sequence[str]:
        container = model.format_facts
        if not isinstance(container, GraphContainer):
            return ["it can only be written if the source is a frozen graph, whose nodes it keeps"]
        return list(constant_problems(model, container))[:1]

    def create(self, model: Model, path: Path) -> Output:
        container = model.format_facts
        assert isinstance(container, GraphContainer)
        return written(container, model, path)
