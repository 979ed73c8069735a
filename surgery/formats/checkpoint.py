"""`checkpoint`: TensorFlow's checkpoints, object-based (version 2) or name-based (version 1)."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from surgery.architecture import Architecture
from surgery.errors import FormatError, SurgeryError
from surgery.formats import _outputs
from surgery.formats._exported import keras3_config
from surgery.formats._tensorflow.bundle import CODES, GRAPH, Bundle
from surgery.formats._tensorflow.bundle_writer import BundleWriter, new_bundle, rewritten
from surgery.formats._tensorflow.meta_graph import trained_names
from surgery.formats._tensorflow.objects import VALUE, CheckpointNode
from surgery.formats._tensorflow.objects_writer import put_graph
from surgery.formats._tensorflow.saved_files import copied
from surgery.formats._tensorflow.sstable import is_table
from surgery.formats._tensorflow.v1 import read_v1, shards
from surgery.formats._tensorflow.variables import (
    Container,
    model_of,
    read_variables,
    states_of,
    stored_tensors,
)
from surgery.formats.base import Format, Output, register
from surgery.live import objects
from surgery.storage import disk
from surgery.weights.matching import names
from surgery.weights.model import Model
from surgery.weights.tensor import dtype_name
from surgery.weights.weight import Weight

STATE = "checkpoint"
"""The file that lists a folder's checkpoints, and the newest."""

_NEWEST = re.compile(rb'^\s*model_checkpoint_path:\s*"((?:[^"\\]|\\.)*)"', re.MULTILINE)
_FILES = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")
_TAIL = 48
_BASE = "ckpt"


@register
@dataclass(frozen=True, kw_only=True)
class Checkpoint(Format):
    """A folder with a TensorFlow checkpoint, and the file that lists it."""

    name = "checkpoint"
    suffix = "a folder with .index"
    is_folder = True
    by_prefix = True
    holds_states = True

    def sniff(self, path: Path, head: bytes) -> bool:
        if path.is_dir():
            return (path / STATE).is_file() or bool(_indices(path))
        if not path.exists() or path.suffix == ".meta":
            prefix = _prefix(path)
            return Path(f"{prefix}.index").is_file() or bool(shards(Path(prefix)))
        if _FILES.search(path.name):
            return True
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            return is_table(file.read())

    def owns(self, folder: Path) -> bool:
        names = {file.name for file in folder.iterdir()}
        return STATE in names and all(
            name == STATE or re.fullmatch(r".*\.(index|meta|data-\d{5}-of-\d{5})", name)
            for name in names
        )

    def open(self, path: Path, architecture: Architecture | None = None) -> Model:
        prefix = _prefix(path)
        if not Path(f"{prefix}.index").is_file():
            model = _first_format(Path(prefix), architecture)
            return replace(model, format="checkpoint", origin=str(path))
        meta = Path(f"{prefix}.meta")
        trains = trained_names(meta) if meta.is_file() else None
        model = read_variables(Bundle(prefix), architecture, trains)
        others = [file for file in (meta, path / STATE) if file.is_file()]
        inputs = (*model.inputs, *others)
        return replace(model, format="checkpoint", origin=str(path), inputs=inputs)

    def problems(self, model: Model) -> Sequence[str]:
        return list(_problems(model))[:1]

    def notes(self, model: Model) -> Sequence[str]:
        container = model.format_facts
        if isinstance(container, Container):
            if container.left_out(model) and _meta(container).is_file():
                name = _meta(container).name
                return [f"{name} is left out: its graph would restore removed variables"]
            return []
        known = model.architecture is not None or _built_objects(model) is not None
        if not known:
            return []
        try:
            _, tracked = _tracked(model)
            if left := [weight.address for weight in _untracked(model, tracked)]:
                return [
                    f"TensorFlow does not track {names(left)} among the model's objects; they are "
                    "stored by name, and tf.train.Checkpoint does not restore them"
                ]
        except SurgeryError as error:
            return [f"the variables are stored by name, which tf.train.load_checkpoint reads and "
                    f"tf.train.Checkpoint does not: {error}"]  # fmt: skip
        return []

    def needs_tensorflow(self, model: Model) -> bool:
        architecture = model.architecture
        if isinstance(model.format_facts, Container) or architecture is None:
            return False
        if _built_objects(model) is not None:
            return False
        return not objects.is_cached(keras3_config(model))

    def create(self, model: Model, path: Path) -> Output:
        container = model.format_facts
        path.mkdir()
        base = _BASE
        outputs: list[Output] = []
        if isinstance(container, Container):
            base = Path(f"{container.bundle.prefix}x").name[:-1] or _BASE
            tensors = stored_tensors(model, container)
            left_out = container.left_out_keys(tensors)
            writer = rewritten(container.bundle, str(path / base), tensors, left_out)
            meta = _meta(container)
            if meta.is_file() and not left_out:
                outputs.append(copied(meta, path / f"{base}.meta"))
        else:
            writer = _new(model, str(path / base))
        quoted = re.sub(r'(["\\])', r"\\\1", base)
        text = "".join(f'{key}: "{quoted}"\n' for key in _STATE_KEYS)
        (path / STATE).write_text(text, encoding="utf-8")
        return _outputs.together([writer.output(), *outputs], path)


_STATE_KEYS = ("model_checkpoint_path", "all_model_checkpoint_paths")


def _meta(container: Container) -> Path:
    """Return the path of the graph that TensorFlow 1 stores with a checkpoint."""
    return Path(f"{container.bundle.prefix}.meta")


def _indices(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.index")) + sorted(folder.glob(".index"))


def _prefix(path: Path) -> str:
    """Return the common prefix of a checkpoint's files, for any path that identifies it.

    Raises FormatError if a folder has several checkpoints and none is marked as newest.
    """
    if not path.is_dir():
        return _FILES.sub("", str(path)) if path.exists() else str(path)
    newest = None
    if (path / STATE).is_file():
        newest = _NEWEST.search(disk.beginning(path / STATE))
    if newest:
        # It may name a folder of the machine that wrote it; only this folder is searched.
        return f"{path}/{_unescaped(newest[1]).rpartition('/')[2]}"
    found = [str(index).removesuffix(".index") for index in _indices(path)]
    if len(found) != 1:
        names = ", ".join(found[:5]) or "none"
        raise FormatError(f"{path} has several checkpoints or none ({names}); name one")
    return found[0]


def _unescaped(text: bytes) -> str:
    """Decode a string of protocol buffers' text format, with its octal escapes."""

    def byte(found: re.Match[bytes]) -> bytes:
        return bytes([int(found[1], 8)]) if found[1].isdigit() else found[1]

    return re.sub(rb"\\([0-3][0-7]{2}|.)", byte, text).decode(errors="replace")


def _first_format(path: Path, architecture: Architecture | None) -> Model:
    """Open a checkpoint of TensorFlow's first format: tables without data files.

    Raises FormatError if there is no such checkpoint.
    """
    files = shards(path)
    if not files:
        raise FormatError(f"{path}: no such checkpoint; neither {path}.index nor {path} is there")
    tensors = read_v1(files)
    states = states_of(tensors, {})
    found = [Weight(name, tensor, (name,), state=states[name]) for name, tensor in tensors.items()]
    return replace(model_of(found, architecture), inputs=tuple(files))


def _problems(model: Model) -> Iterator[str]:
    container = model.format_facts
    if not isinstance(container, Container):
        for weight in (*model.weights, *model.states):
            if dtype_name(weight.tensor.dtype) not in CODES:
                yield f"{weight.address} is {weight.tensor.dtype.name}, which it cannot store"
        return
    for weight in model.weights:
        if weight.address not in container.names:
            yield f"it keeps its source's names, and {weight.address} is not one of them"
    for address in container.left_out(model):
        if container.states[address] == "weight":
            yield f"it keeps all of its source's variables, and {address} was removed"
    for key, tensor in stored_tensors(model, container).items():
        entry = container.bundle.entries[key]
        if entry.slices and (entry.shape, entry.dtype) != (tensor.shape, tensor.dtype):
            yield f"{key} is stored in parts, whose shape and dtype cannot change"
        if dtype_name(tensor.dtype) not in CODES:
            yield f"{key} is {tensor.dtype.name}, which it cannot store"


def _new(model: Model, prefix: str) -> BundleWriter:
    """Make a writer: object-based if Keras can build the model, else name-based."""
    with contextlib.suppress(SurgeryError):
        return _by_objects(model, prefix)
    return _by_names(model, prefix)


def _built_objects(model: Model) -> list[objects.TrackedNode] | None:
    """Return the object graph of a model that code has built; None for other models."""
    code = model.carried.code
    return code.objects if code is not None else None


def _by_objects(model: Model, prefix: str) -> BundleWriter:
    """Make a writer of a checkpoint as by `tf.train.Checkpoint(model=model)`.

    Variables that TensorFlow does not track (cells in a list) are stored by name.
    """
    found, tracked = _tracked(model)
    tensors = {key: model[address].tensor for key, address in tracked.items()}
    rest = {weight.address: weight.tensor for weight in _untracked(model, tracked)}
    nodes = [
        CheckpointNode(
            tuple(node.children), ((VALUE, tracked[node.key], node.key),) if node.key else (), ()
        )
        for node in found
    ]
    return new_bundle(prefix, {**tensors, **rest}, {GRAPH: put_graph(nodes)})


def _tracked(model: Model) -> tuple[list[objects.TrackedNode], dict[str, str]]:
    """Return (the object graph, {key: address} of its weights).

    Raises SurgeryError if Keras cannot build the model.
    """
    built = _built_objects(model)
    if built is not None:
        found, addresses = built, [weight.address for weight in model.weights]
    else:
        architecture = model.need_architecture("it has no objects")
        found = objects.object_graph(keras3_config(model))
        addresses = list(architecture.weight_order)
    tracked = {}
    for node in found:
        if node.place is None:
            continue
        address = addresses[node.place] if node.place < len(addresses) else ""
        if node.weights != len(addresses) or not address.endswith(node.name.rpartition("/")[2]):
            raise FormatError(
                f"Keras gives the model {node.weights} weights, {node.name} among them, which "
                "surgery does not find in its config; please report it"
            )
        if address not in model.by_address:
            raise FormatError(f"{address}, a weight of the model in Keras, is not in the file")
        tracked[node.key] = address
    return found, tracked


def _untracked(model: Model, tracked: Mapping[str, str]) -> list[Weight]:
    known = set(tracked.values())
    return [weight for weight in model.weights if weight.address not in known]


def _by_names(model: Model, prefix: str) -> BundleWriter:
    """Make a writer of a checkpoint as by TensorFlow 1: each tensor by its address."""
    tensors = {weight.address: weight.tensor for weight in (*model.weights, *model.states)}
    return new_bundle(prefix, tensors, {})
