"""Reading of a SavedModel's folder: its variables, and Keras 2's metadata of its layers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from surgery.architecture import Architecture
from surgery.errors import FormatError
from surgery.formats._configs import parse
from surgery.formats._tensorflow.bundle import Bundle
from surgery.formats._tensorflow.fields import KerasObject, MetaGraph, ObjectGraph, SavedModel
from surgery.formats._tensorflow.messages import parse as parse_message
from surgery.formats._tensorflow.meta_graph import parts, signatures, trained
from surgery.formats._tensorflow.objects import CheckpointNode
from surgery.formats._tensorflow.proto import Buffer, Message, check_depth, located
from surgery.formats._tensorflow.saved_constants import read_saved_constants
from surgery.formats._tensorflow.saved_files import GRAPH, KERAS, VARIABLES, other_files
from surgery.formats._tensorflow.variables import Container, read_variables
from surgery.formats._tensorflow.vocabularies import with_vocabularies
from surgery.storage import disk
from surgery.weights.model import Carried, Model


@dataclass(frozen=True)
class SavedModelContainer(Container):
    """The SavedModel from which a model was read; `unpacked` keeps a temporary folder alive."""

    folder: Path
    unpacked: tempfile.TemporaryDirectory[str] | None = None


def read_folder(
    folder: Path,
    architecture: Architecture | None,
    unpacked: tempfile.TemporaryDirectory[str] | None,
) -> Model:
    """Read the model in a SavedModel's folder; `unpacked` is a temporary folder to keep alive.

    Raises FormatError.
    """
    try:
        data = disk.contents(folder / GRAPH)
        check_depth(data)
        graphs = list(_meta_graphs(data))
        found = [s for graph in graphs for s in signatures(graph)]
        objects = cache(partial(_objects, graphs[0]))
        saved = None
        if architecture is None:
            saved = _saved_architecture(folder, graphs[0], objects)
        has_index = Path(f"{folder / VARIABLES}.index").is_file()
        bundle = Bundle(str(folder / VARIABLES)) if has_index else None
        if bundle is None or not (saved or bundle.has_numbers):
            model = read_saved_constants(folder, unpacked)
            return _of_folder(folder, Carried(signatures=tuple(found)), model)
        known = architecture or (Architecture(saved["model_config"], False) if saved else None)
        nodes = bundle.graph
        trains = trained(graphs[0]) if nodes is None else _trained(objects(), nodes)
        model = read_variables(bundle, known, trains)
        if saved and not _fits(model):
            model = read_variables(bundle, None, trains)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"{folder} is damaged, or not a SavedModel: {error}") from error
    container = model.format_facts
    assert isinstance(container, Container)
    carried = Carried(
        keras_version=str((saved or {}).get("keras_version") or ""),
        backend="tensorflow",
        signatures=tuple(found),
        training_config=(saved or {}).get("training_config") if model.architecture else None,
    )
    facts = SavedModelContainer(
        container.bundle, container.names, container.states, folder, unpacked
    )
    return _of_folder(folder, carried, replace(model, format_facts=facts))


def _of_folder(folder: Path, carried: Carried, model: Model) -> Model:
    """Return the model with all files of the folder as its inputs."""
    others = (folder / file for file in other_files(folder))
    inputs = dict.fromkeys((folder / GRAPH, *model.inputs, *others))
    return replace(
        model, format="savedmodel", origin=str(folder), carried=carried, inputs=tuple(inputs)
    )


def _meta_graphs(data: Buffer) -> Iterator[dict[int, list[Buffer]]]:
    """Yield the fields of each MetaGraphDef of a SavedModel, one for each set of tags.

    Raises ValueError if there is none.
    """
    view = memoryview(data)
    found = [field for field in located(view) if field.number == SavedModel.META_GRAPHS]
    if not found:
        raise ValueError(f"{GRAPH} has no graph")
    for field in found:
        yield parts(view, field.start, field.stop)


def _objects(graph: Mapping[int, Sequence[Buffer]]) -> list[Any]:
    """Return the SavedObjects, whose numbers are those of the checkpoint's objects."""
    graphs = graph.get(MetaGraph.OBJECT_GRAPH, [])
    return [node for data in graphs for node in parse_message("SavedObjects", data).nodes]


def _trained(objects: Sequence[Any], nodes: Sequence[CheckpointNode]) -> dict[str, bool]:
    """Return whether each variable is trainable, by checkpoint key."""
    return {
        key: found.variable.trainable
        for found, node in zip(objects, nodes, strict=False)
        if node.attributes and found.HasField("variable")
        for _, _, key in node.attributes
    }


def _saved_architecture(
    folder: Path, graph: Mapping[int, Sequence[Buffer]], objects: Callable[[], Sequence[Any]]
) -> Mapping[str, Any] | None:
    """Return Keras 2's metadata of the model if it is functional or Sequential; else None."""
    text = ""
    if (folder / KERAS).is_file():
        for node in Message((folder / KERAS).read_bytes()).messages(ObjectGraph.NODES):
            if node.text(KerasObject.NODE_PATH) == "root":
                text = node.text(KerasObject.METADATA)
    elif found := objects():
        text = found[0].user.metadata
    if not text:
        return None
    saved = dict(_without_tuples(parse(text, folder, "Keras metadata")))
    config = saved.get("model_config") or {k: saved.get(k) for k in ("class_name", "config")}
    if not isinstance(config, Mapping) or not Architecture(config).is_graph:
        return None
    return {**saved, "model_config": with_vocabularies(config, folder, graph)}


def _without_tuples(value: Any) -> Any:
    """Replace `__tuple__` objects in Keras 2's JSON by lists."""
    if isinstance(value, list):
        return [_without_tuples(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if value.get("class_name") == "__tuple__":
        return _without_tuples(value.get("items", []))
    return {key: _without_tuples(item) for key, item in value.items()}


def _fits(model: Model) -> bool:
    """Return whether the weights are exactly those of the architecture, as far as it is known."""
    assert model.architecture is not None
    known = set(model.architecture.weight_order)
    there = {weight.address for weight in model.weights}
    owners = (model.architecture.owner(address) for address in there - known)
    return known <= there and all(owner.variables is None and owner.address for owner in owners)
