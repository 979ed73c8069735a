"""SavedModels without variables, whose weights are constants of their graph."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from surgery.errors import FormatError
from surgery.formats import _files
from surgery.formats._base import Output
from surgery.formats._tensorflow.graph import (
    GraphContainer,
    is_changed,
    read_constants,
    written,
)
from surgery.formats._tensorflow.proto import located
from surgery.formats._tensorflow.saved_files import FINGERPRINT, GRAPH, all_files, copied
from surgery.weights.model import Model

_META_GRAPH, _GRAPH_DEF = 2, 2


@dataclass(frozen=True)
class SavedConstants:
    """The folder that a model was read from; `unpacked` keeps a temporary one alive."""

    folder: Path
    graph: GraphContainer
    unpacked: tempfile.TemporaryDirectory[str] | None


def read_saved_constants(folder: Path, unpacked: tempfile.TemporaryDirectory[str] | None) -> Model:
    """The constants of a SavedModel's graph; ValueError where it is broken."""
    path = folder / GRAPH
    data = _files.contents(path)
    graphs = [field for field in located(data) if field.number == _META_GRAPH]
    if len(graphs) > 1:
        raise FormatError(
            f"{folder} has no variables and {len(graphs)} graphs, which may hold the same "
            "constants; only those of a single graph are read"
        )
    inner = [f for g in graphs for f in located(data, g.start, g.stop) if f.number == _GRAPH_DEF]
    model = read_constants(path, (*graphs, *inner))
    if not model.weights:
        raise FormatError(
            f"{folder} has no variables, and its graph no constants that are weights; those inside "
            "functions are not read"
        )
    graph = model.carried.container
    assert isinstance(graph, GraphContainer)
    carried = replace(model.carried, container=SavedConstants(folder, graph, unpacked))
    inputs = tuple(folder / file for file in all_files(folder))
    return replace(model, carried=carried, inputs=inputs)


def write_saved_constants(container: SavedConstants, model: Model, path: Path) -> Output:
    """Start writing the SavedModel with a model's weights as its constants.

    A fingerprint, of which no program needs one, goes along only where it is still true.
    """
    constants = container.graph.constants.items()
    changed = any(is_changed(c, model.by_address[address].tensor) for address, c in constants)
    path.mkdir()
    outputs = [
        copied(container.folder / file, path / file)
        for file in all_files(container.folder)
        if str(file) != GRAPH and not (changed and str(file) == FINGERPRINT)
    ]
    return _files.together([*outputs, written(container.graph, model, path / GRAPH)], path)
