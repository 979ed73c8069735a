"""SavedModels without variables, whose weights are constants of their graph."""

from __future__ import annotations

import tempfile
from collections.abc import Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from surgery.errors import FormatError
from surgery.formats import _outputs
from surgery.formats._tensorflow.fields import MetaGraph, SavedModel
from surgery.formats._tensorflow.graph import (
    GraphContainer,
    Nested,
    is_changed,
    list_constants,
    read_constants,
    written,
)
from surgery.formats._tensorflow.proto import Buffer, located
from surgery.formats._tensorflow.saved_files import FINGERPRINT, GRAPH, all_files, copied
from surgery.formats.base import Output
from surgery.storage import disk
from surgery.weights.model import FormatFacts, Model


@dataclass(frozen=True)
class SavedConstants(FormatFacts):
    """The folder from which a model was read; `unpacked` keeps a temporary one alive."""

    edits_in_place = True

    folder: Path
    graph: GraphContainer
    unpacked: tempfile.TemporaryDirectory[str] | None


def read_saved_constants(folder: Path, unpacked: tempfile.TemporaryDirectory[str] | None) -> Model:
    """Read the constants of a SavedModel's graph as a model; raises FormatError or ValueError."""
    outers = _graphs(disk.contents(folder / GRAPH))
    if len(outers) > 1:
        raise FormatError(
            f"{folder} has no variables and {len(outers)} graphs, which may contain the same "
            "constants; only those of a single graph are read"
        )
    model = read_constants(folder / GRAPH, outers[0]) if outers else Model(())
    if not model.weights:
        raise FormatError(
            f"{folder} has no variables, and its graph no constants that are weights; constants in "
            "functions are not read"
        )
    graph = model.format_facts
    assert isinstance(graph, GraphContainer)
    facts = SavedConstants(folder, graph, unpacked)
    inputs = tuple(folder / file for file in all_files(folder))
    return replace(model, format_facts=facts, inputs=inputs)


def _graphs(data: Buffer) -> list[Nested]:
    """Return (MetaGraphDef, graph) positions of a SavedModel's graphs."""
    return [
        (meta, graph)
        for meta in located(data)
        if meta.number == SavedModel.META_GRAPHS
        for graph in located(data, meta.start, meta.stop)
        if graph.number == MetaGraph.GRAPH
    ]


def named_lists(folder: Path, wanted: Set[str]) -> dict[str, list[Any]]:
    """Return one-dimensional constants of a SavedModel's first graph, by name."""
    data = disk.contents(folder / GRAPH)
    return list_constants(data, _graphs(data)[0], wanted)


def write_saved_constants(container: SavedConstants, model: Model, path: Path) -> Output:
    """Start writing the SavedModel with a model's weights as its constants.

    The fingerprint, which no program needs, is copied only if no constant changed.
    """
    constants = container.graph.constants.items()
    changed = any(is_changed(c, model.by_address[address].tensor) for address, c in constants)
    path.mkdir()
    outputs = [
        copied(container.folder / file, path / file)
        for file in all_files(container.folder)
        if str(file) != GRAPH and not (changed and str(file) == FINGERPRINT)
    ]
    return _outputs.together([*outputs, written(container.graph, model, path / GRAPH)], path)
