"""Constants of a TensorFlow graph as a model's weights, and writing them back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from surgery.errors import FormatError
from surgery.formats import _outputs
from surgery.formats._tensorflow import fields
from surgery.formats._tensorflow.fields import AttrValue, MapEntry, NodeDef
from surgery.formats._tensorflow.proto import Buffer, Located, Message, located, put_length
from surgery.formats._tensorflow.tensor_proto import CONTENT, FoundTensor, find_tensor
from surgery.formats.base import Output
from surgery.storage import disk
from surgery.storage.descriptors import Descriptor, FileRange
from surgery.weights.digest import HashingTensor
from surgery.weights.matching import names
from surgery.weights.model import FormatFacts, Model
from surgery.weights.tensor import FileTensor, Tensor, raw_bytes
from surgery.weights.weight import Weight

_DESCRIBING = (fields.Tensor.DTYPE, fields.Tensor.SHAPE, fields.Tensor.VERSION)

_VARIABLES = ("Variable", "VariableV2", "VarHandleOp")
_OF_TABLES = ("InitializeTable", "LookupTableImport", "LookupTableInsert")

Segment = bytes | tuple[int, int] | Tensor
"""A part of the new file: bytes, a (start, stop) of the old file, or a tensor's bytes."""

Nested = tuple[Located, ...]
"""Positions of messages, each inside the one before."""


@dataclass(frozen=True)
class Constant:
    """A Const node: the messages down to its TensorProto, and its tensor."""

    nested: Nested
    found: FoundTensor


@dataclass(frozen=True)
class GraphContainer(FormatFacts):
    """The file from which a graph was read, and its constants by address."""

    edits_in_place = True

    path: Path
    descriptor: Descriptor
    data: Buffer
    constants: Mapping[str, Constant]

    def part(self, start: int, stop: int) -> Tensor:
        """Return a byte range of the file as a uint8 tensor."""
        return raw_bytes(FileRange(self.path, start), stop - start, self.descriptor)


@dataclass(frozen=True)
class _GraphNode:
    """A node of a graph."""

    name: str
    op: str
    inputs: tuple[str, ...]
    places: Sequence[Located]
    nested: Nested


def read_constants(path: Path, outer: Nested = ()) -> Model:
    """Read the constants of the graph in a file as a model.

    `outer` are the messages around the graph, outermost first. Raises FormatError if the graph has
    variables, whose values are in other files, and ValueError if it is damaged.
    """
    data, descriptor = disk.contents(path), Descriptor.open(path)
    constants: dict[str, Constant] = {}
    read: set[str] = set()
    of_tables: set[str] = set()
    variables = []
    for node in _nodes(data, outer):
        if node.op == "Identity" and node.name.endswith(("/read", "/ReadVariableOp")):
            read.update(node.inputs)
        elif node.op.startswith(_OF_TABLES):
            of_tables.update(node.inputs[1:])
        elif node.op in _VARIABLES:
            variables.append(node.name)
        elif node.op == "Const":
            if not node.name or node.name in constants:
                raise ValueError(f"two constants are called {node.name!r}")
            if (constant := _constant((path, descriptor, 0), data, node)) is not None:
                constants[node.name] = constant
    if variables:
        raise FormatError(_not_frozen(path, variables))
    found = [
        _weight(name, constant.found.tensor, read, of_tables)
        for name, constant in constants.items()
    ]
    return Model(
        weights=tuple(weight for weight in found if weight.state == "weight"),
        format_facts=GraphContainer(path, descriptor, data, constants),
        origin=str(path),
        inputs=(path,),
        states=tuple(weight for weight in found if weight.state != "weight"),
    )


def list_constants(data: Buffer, outer: Nested, wanted: Set[str]) -> dict[str, list[Any]]:
    """Return the values of one-dimensional constants of strings or integers, by name."""
    found = {}
    for node in _nodes(data, outer):
        if node.op == "Const" and node.name in wanted:
            proto = _proto(data, node)
            if proto is not None:
                start, stop = proto[-1].start, proto[-1].stop
                tensor = find_tensor(data, start, stop)
                texts = Message(data[start:stop]).strings(fields.Tensor.STRINGS)
                found[node.name] = (
                    tensor.tensor.numpy().tolist() if tensor else [text.decode() for text in texts]
                )
    return found


def _weight(name: str, tensor: Tensor, read: set[str], of_tables: set[str]) -> Weight:
    is_float = tensor.dtype.kind in "fcV" or tensor.dtype.name in ("bfloat16",)
    is_weight = name in read or (is_float and tensor.shape and name not in of_tables)
    return Weight(name, tensor, (name,), state="weight" if is_weight else "other")


def _nodes(data: Buffer, outer: Nested) -> Iterator[_GraphNode]:
    start, stop = (outer[-1].start, outer[-1].stop) if outer else (0, len(data))
    for node in located(data, start, stop):
        if node.number != fields.GraphDef.NODE:
            continue
        inner = list(located(data, node.start, node.stop))
        named = [field for field in reversed(inner) if field.number in (NodeDef.NAME, NodeDef.OP)]
        texts = {field.number: _text(data, field) for field in named}
        inputs = (_text(data, f).removesuffix(":0") for f in inner if f.number == NodeDef.INPUT)
        name, op = texts.get(NodeDef.NAME, ""), texts.get(NodeDef.OP, "")
        yield _GraphNode(name, op, tuple(inputs), inner, (*outer, node))


def _constant(
    file: tuple[Path, Descriptor, int], data: Buffer, node: _GraphNode
) -> Constant | None:
    """Return the constant of a Const node; None if it is not numeric."""
    nested = _proto(data, node)
    found = find_tensor(data, nested[-1].start, nested[-1].stop, file) if nested else None
    return Constant(nested, found) if nested and found else None


def _proto(data: Buffer, node: _GraphNode) -> Nested | None:
    """Return the messages down to the TensorProto of a Const node."""
    for attribute in node.places:
        if attribute.number != NodeDef.ATTR:
            continue
        entry = {f.number: f for f in located(data, attribute.start, attribute.stop)}
        key, value = entry.get(MapEntry.KEY), entry.get(MapEntry.VALUE)
        if key is None or value is None or _text(data, key) != "value":
            continue
        for proto in located(data, value.start, value.stop):
            if proto.number == AttrValue.TENSOR:
                return (*node.nested, attribute, value, proto)
    return None


def _text(data: Buffer, field: Located) -> str:
    return bytes(data[field.start : field.stop]).decode(errors="replace")


def _not_frozen(path: Path, variables: Sequence[str]) -> str:
    """Return the error message for a graph with variables, with nearby checkpoints."""
    folder = path.parent
    indices = islice((i for glob in ("*.index", "*/*.index") for i in folder.glob(glob)), 3)
    near = ", ".join(str(index).removesuffix(".index") for index in indices)
    return (
        f"{path} is not frozen: the values of its variables ({names(variables)}) are in the "
        "checkpoint, or the folder variables of the SavedModel, that was saved with it; "
        + (f"load that (near it there is {near})" if near else "load that")
    )


def constant_problems(model: Model, container: GraphContainer) -> Iterator[str]:
    """Yield why a graph cannot store a model's weights as its constants."""
    for address, constant in container.constants.items():
        new, old = model.by_address.get(address), constant.found.tensor
        if new is None:
            yield f"its graph needs all of its constants, and {address} was removed or renamed"
        elif (new.tensor.shape, new.tensor.dtype) != (old.shape, old.dtype):
            yield f"{address} is {list(old.shape)} {old.dtype} in its graph, which cannot change"


def is_changed(constant: Constant, tensor: Tensor) -> bool:
    """Return whether a tensor is not the one that was read."""
    return (
        tensor.tensor if isinstance(tensor, HashingTensor) else tensor
    ) is not constant.found.tensor


def written(container: GraphContainer, model: Model, path: Path) -> Output:
    """Start writing the file again, with a model's weights as its constants."""
    descriptor = disk.create(path)
    places: list[tuple[int, Tensor]] = []
    offset = 0
    for segment in _segments(container, model):
        if isinstance(segment, bytes):
            disk.write_at(descriptor, segment, offset)
            offset += len(segment)
            continue
        tensor = container.part(*segment) if isinstance(segment, tuple) else segment
        if not tensor.size:
            continue
        places.append((offset, tensor))
        offset += tensor.nbytes
    return _outputs.output(descriptor, places)


@dataclass(frozen=True)
class _Edit:
    """New content of a TensorProto, and the messages that contain it."""

    nested: Nested
    content: Sequence[Segment]


def _segments(container: GraphContainer, model: Model) -> list[Segment]:
    """Return the new file's segments: the old file with changed constants replaced."""
    edits = []
    for address, constant in container.constants.items():
        tensor, old = model.by_address[address].tensor, constant.found
        proto = constant.nested[-1]
        if old.field is not None and isinstance(old.tensor, FileTensor):
            start = old.tensor.file_range.offset
            head, tail = (proto.start, start), (start + tensor.nbytes, proto.stop)
            edits.append(_Edit(constant.nested, [head, tensor, tail]))
        elif is_changed(constant, tensor):
            content = _as_bytes(container.data, proto, tensor)
            edits.append(_Edit(constant.nested, content))
    edits.sort(key=lambda edit: edit.nested[-1].tag)
    return _edited(0, len(container.data), edits)


def _as_bytes(data: Buffer, proto: Located, tensor: Tensor) -> list[Segment]:
    """Return a TensorProto whose value is in its bytes field."""
    kept = b"".join(
        bytes(data[field.tag : field.stop])
        for field in located(data, proto.start, proto.stop)
        if field.number in _DESCRIBING
    )
    return [kept, put_length(CONTENT, tensor.nbytes), tensor]


def _edited(start: int, stop: int, edits: Sequence[_Edit]) -> list[Segment]:
    """Return a range of the file with its messages edited, each with its new length."""
    segments: list[Segment] = []
    for message, group in groupby(edits, key=lambda edit: edit.nested[0]):
        inside = [replace(edit, nested=edit.nested[1:]) for edit in group]
        content = (
            _edited(message.start, message.stop, inside)
            if inside[0].nested
            else list(inside[0].content)
        )
        head = put_length(message.number, sum(map(_size, content)))
        segments += [(start, message.tag), head, *content]
        start = message.stop
    return [*segments, (start, stop)]


def _size(segment: Segment) -> int:
    if isinstance(segment, tuple):
        return segment[1] - segment[0]
    return len(segment) if isinstance(segment, bytes) else segment.nbytes
