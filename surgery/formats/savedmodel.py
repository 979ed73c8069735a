"""`savedmodel`: TensorFlow's SavedModels, read and edited without running them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from surgery.architecture import Architecture
from surgery.errors import FormatError
from surgery.formats import _outputs
from surgery.formats._configs import parse
from surgery.formats._exported import export_memory, export_problems, exported
from surgery.formats._tensorflow.bundle import Bundle
from surgery.formats._tensorflow.bundle_writer import rewritten
from surgery.formats._tensorflow.graph import constant_problems
from surgery.formats._tensorflow.messages import parse as parse_message
from surgery.formats._tensorflow.meta_graph import parts, signatures, trained
from surgery.formats._tensorflow.objects import Node
from surgery.formats._tensorflow.proto import Buffer, Message, check_depth, located
from surgery.formats._tensorflow.saved_constants import (
    SavedConstants,
    read_saved_constants,
    write_saved_constants,
)
from surgery.formats._tensorflow.saved_files import (
    FINGERPRINT,
    GRAPH,
    VARIABLES,
    copied,
    other_files,
    write_fingerprint,
)
from surgery.formats._tensorflow.variables import Container, read_variables, stored_tensors
from surgery.formats._tensorflow.vocabularies import with_vocabularies
from surgery.formats.base import Format, Output, register
from surgery.storage import disk, tarfiles
from surgery.weights.model import Carried, Model

KERAS = "keras_metadata.pb"

_FOLDERS = ("variables", "assets", "assets.extra")
_FILES = (FINGERPRINT, KERAS, "tfhub_module.pb")
_META_GRAPHS, _OBJECT_GRAPH = 2, 7


@dataclass(frozen=True)
class SavedModelContainer(Container):
    """The SavedModel that a model was read from; `unpacked` keeps a temporary folder alive."""

    folder: Path
    unpacked: tempfile.TemporaryDirectory[str] | None = None


@register
class SavedModel(Format):
    """A TensorFlow SavedModel, whose graph, signatures and assets stay byte for byte."""

    name = "savedmodel"
    suffix = "a folder with saved_model.pb"
    is_folder = True
    holds_states = True

    def sniff(self, path: Path, head: bytes) -> bool:
        if path.is_dir():
            return (path / GRAPH).is_file() or (path / "saved_model.pbtxt").is_file()
        is_packed = head.startswith(tarfiles.MAGIC)
        return path.name == GRAPH or (is_packed and tarfiles.holds(path, GRAPH))

    def owns(self, folder: Path) -> bool:
        return (folder / GRAPH).is_file() and all(
            file.is_dir() if file.name in _FOLDERS else file.name in (GRAPH, *_FILES)
            for file in folder.iterdir()
        )

    def open(self, path: Path, architecture: Architecture | None = None) -> Model:
        if path.name == GRAPH:
            path = path.parent
        if not path.is_dir():
            unpacked = tarfiles.unpacked(path)
            found = next(Path(unpacked.name).rglob(GRAPH)).parent
            return replace(_open(found, architecture, unpacked), origin=str(path), inputs=(path,))
        if not (path / GRAPH).is_file():
            raise FormatError(f"{path}: the text form (saved_model.pbtxt) is not read")
        return _open(path, architecture, None)

    def problems(self, model: Model) -> Sequence[str]:
        if self.is_foreign(model) and model.architecture is not None:
            return list(export_problems(model))[:1]
        return list(_problems(model))[:1]

    def is_foreign(self, model: Model) -> bool:
        return not isinstance(model.carried.container, SavedModelContainer | SavedConstants)

    def needs_tensorflow(self, model: Model) -> bool:
        return self.is_foreign(model)

    def memory(self, model: Model) -> int:
        return export_memory("savedmodel", model) if self.is_foreign(model) else 0

    def create(self, model: Model, path: Path) -> Output:
        container = model.carried.container
        if isinstance(container, SavedConstants):
            return write_saved_constants(container, model, path)
        if not isinstance(container, SavedModelContainer):
            return exported("savedmodel", model, path)
        path.mkdir()
        outputs = []
        for file in other_files(container.folder):
            outputs.append(copied(container.folder / file, path / file))
        (path / VARIABLES).parent.mkdir(exist_ok=True)
        tensors = stored_tensors(model, container)
        outputs.append(rewritten(container.bundle, str(path / VARIABLES), tensors).output())
        written = _outputs.together(outputs, path)

        def finish() -> None:
            written.finish()
            disk.sync((path / VARIABLES).parent)
            write_fingerprint(container.folder, path)
            disk.sync(path)

        return Output(written.tensors, finish, written.close)


def _open(
    folder: Path,
    architecture: Architecture | None,
    unpacked: tempfile.TemporaryDirectory[str] | None,
) -> Model:
    try:
        data = disk.contents(folder / GRAPH)
        check_depth(data)
        graphs = list(_meta_graphs(data))
        found = [s for graph in graphs for s in signatures(graph)]
        saved = _saved_architecture(folder, graphs) if architecture is None else None
        has_index = Path(f"{folder / VARIABLES}.index").is_file()
        bundle = Bundle(str(folder / VARIABLES)) if has_index else None
        if bundle is None or not (saved or bundle.has_numbers):
            model = read_saved_constants(folder, unpacked)
            return _of_folder(folder, replace(model.carried, signatures=tuple(found)), model)
        known = architecture or (Architecture(saved["model_config"], False) if saved else None)
        nodes = bundle.graph
        trains = trained(graphs[0]) if nodes is None else _trained(graphs[0], nodes)
        model = read_variables(bundle, known, trains)
        if saved and not _fits(model):
            model = read_variables(bundle, None, trains)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"{folder} is damaged, or not what it seems: {error}") from error
    container = model.carried.container
    assert isinstance(container, Container)
    carried = replace(
        model.carried,
        keras_version=str((saved or {}).get("keras_version") or ""),
        backend="tensorflow",
        signatures=tuple(found),
        training_config=(saved or {}).get("training_config") if model.architecture else None,
        container=SavedModelContainer(
            container.bundle, container.names, container.states, folder, unpacked
        ),
    )
    return _of_folder(folder, carried, model)


def _of_folder(folder: Path, carried: Carried, model: Model) -> Model:
    """The model whose inputs are all files of the folder."""
    others = (folder / file for file in other_files(folder))
    inputs = dict.fromkeys((folder / GRAPH, *model.inputs, *others))
    return replace(
        model, format="savedmodel", origin=str(folder), carried=carried, inputs=tuple(inputs)
    )


def _meta_graphs(data: Buffer) -> Iterator[dict[int, list[Buffer]]]:
    """The MetaGraphDefs of a SavedModel, one for each set of tags."""
    view = memoryview(data)
    found = [field for field in located(view) if field.number == _META_GRAPHS]
    if not found:
        raise ValueError(f"{GRAPH} holds no graph")
    for field in found:
        yield parts(view, field.start, field.stop)


def _objects(graph: Mapping[int, Sequence[Buffer]]) -> list[Any]:
    """The SavedObjects, numbered as the checkpoint's objects are."""
    graphs = graph.get(_OBJECT_GRAPH, [])
    return [node for data in graphs for node in parse_message("SavedObjects", data).nodes]


def _trained(graph: Mapping[int, Sequence[Buffer]], nodes: Sequence[Node]) -> dict[str, bool]:
    """Whether each variable is trainable, by its key in the checkpoint."""
    return {
        key: found.variable.trainable
        for found, node in zip(_objects(graph), nodes, strict=False)
        if node.attributes and found.HasField("variable")
        for _, _, key in node.attributes
    }


def _saved_architecture(
    folder: Path, graphs: Sequence[Mapping[int, Sequence[Buffer]]]
) -> Mapping[str, Any] | None:
    """What Keras 2 says of the model, where it is a functional or a Sequential one."""
    text = ""
    if (folder / KERAS).is_file():
        for node in Message((folder / KERAS).read_bytes()).messages(1):
            if node.text(3) == "root":
                text = node.text(5)
    elif objects := _objects(graphs[0]):
        text = objects[0].user.metadata
    if not text:
        return None
    found = dict(_without_tuples(parse(text, folder, "Keras metadata")))
    config = found.get("model_config") or {k: found.get(k) for k in ("class_name", "config")}
    if not isinstance(config, Mapping) or not Architecture(config).is_graph:
        return None
    return {**found, "model_config": with_vocabularies(config, folder, graphs[0])}


def _without_tuples(value: Any) -> Any:
    """Keras 2's JSON with lists in place of its `__tuple__` objects."""
    if isinstance(value, list):
        return [_without_tuples(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if value.get("class_name") == "__tuple__":
        return _without_tuples(value.get("items", []))
    return {key: _without_tuples(item) for key, item in value.items()}


def _fits(model: Model) -> bool:
    """Whether the weights are just those that the architecture has, as far as it knows them."""
    assert model.architecture is not None
    known = set(model.architecture.weight_order)
    there = {weight.address for weight in model.weights}
    owners = (model.architecture.owner(address) for address in there - known)
    return known <= there and all(owner.slots is None and owner.address for owner in owners)


def _problems(model: Model) -> Iterator[str]:
    container = model.carried.container
    if isinstance(container, SavedConstants):
        yield from constant_problems(model, container.graph)
        return
    if not isinstance(container, SavedModelContainer):
        yield (
            "it is written from a SavedModel, whose graph it keeps, or from a model with an "
            "architecture; the source has neither"
        )
        return
    for address in container.left_out(model):
        why = "is left out or renamed"
        if container.states[address] != "weight":
            why = "is left out; keep the optimizer, or write a checkpoint without it"
        yield f"its graph restores all of its variables, and {address} {why}"
    for key, tensor in stored_tensors(model, container).items():
        entry = container.bundle.entries[key]
        if (entry.shape, entry.dtype) != (tensor.shape, tensor.dtype):
            yield (
                f"{key} is {list(entry.shape)} {entry.dtype} in its graph, which stays as it is, "
                f"not {list(tensor.shape)} {tensor.dtype}"
            )
