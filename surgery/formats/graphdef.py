"""`graphdef`: frozen graphs of TensorFlow, whose weights are constants."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from surgery.architecture import Architecture
from surgery.errors import FormatError
from surgery.formats import _files
from surgery.formats._base import Format, Output, register
from surgery.formats._tensorflow.proto import Buffer, Located, check_depth, located, put_length
from surgery.formats._tensorflow.tensor_proto import CONTENT, Found, find_tensor
from surgery.weights.digest import Watched
from surgery.weights.model import Carried, Model
from surgery.weights.tensor import Descriptor, Extent, Stored, Tensor, raw_bytes
from surgery.weights.weight import Weight

_NODE = 1
_NAME, _OP, _INPUT, _ATTR = 1, 2, 3, 5
_KEY, _VALUE = 1, 2
_TENSOR = 8
_DESCRIBING = (1, 2, 3)  # a TensorProto's dtype, shape and version

Segment = bytes | tuple[int, int] | Tensor
"""A part of the new file: bytes, a range of the old file, or a tensor's own bytes."""


@dataclass(frozen=True)
class Constant:
    """A Const node: where its message and those inside it stand, and what it holds."""

    node: Located
    attribute: Located
    value: Located
    proto: Located
    found: Found


@dataclass(frozen=True)
class GraphContainer:
    """The file that a graph was read from, and its constants by their addresses."""

    path: Path
    descriptor: Descriptor
    data: Buffer
    constants: Mapping[str, Constant]

    def part(self, start: int, stop: int) -> Tensor:
        """A part of the file as it is."""
        return raw_bytes(Extent(self.path, start), stop - start, self.descriptor)


@register
class GraphDef(Format):
    """A frozen graph (`.pb`) of TensorFlow, edited in place."""

    name = "graphdef"
    suffix = ".pb"
    holds_states = True

    def sniff(self, path: Path, head: bytes) -> bool:
        if path.is_dir() or head[:1] != b"\x0a":
            return False
        data = _files.contents(path)
        try:
            node = next(located(data))
            inner = [field.number for field in located(data, node.start, node.stop)]
        except (ValueError, IndexError):
            return False
        return inner[:2] == [_NAME, _OP]

    def open(self, path: Path, architecture: Architecture | None = None) -> Model:
        data, descriptor = _files.contents(path), Descriptor.open(path)
        try:
            check_depth(data)
            constants, read = _constants(path, descriptor, data)
        except (ValueError, IndexError) as error:
            raise FormatError(f"{path} is damaged, or no graph: {error}") from None
        weights: list[Weight] = []
        states: list[Weight] = []
        for name, constant in constants.items():
            tensor = constant.found.tensor
            is_float = tensor.dtype.kind in "fcV" or tensor.dtype.name in ("bfloat16",)
            is_weight = name in read or (is_float and tensor.shape)
            weight = Weight(name, tensor, (name,), state="weight" if is_weight else "other")
            (weights if is_weight else states).append(weight)
        return Model(
            weights=tuple(weights),
            carried=Carried(container=GraphContainer(path, descriptor, data, constants)),
            format="graphdef",
            origin=str(path),
            inputs=(path,),
            states=tuple(states),
        )

    def problems(self, model: Model) -> Sequence[str]:
        return list(_problems(model))[:1]

    def create(self, model: Model, path: Path) -> Output:
        container = model.carried.container
        assert isinstance(container, GraphContainer)
        tensors = {w.address: w.tensor for w in (*model.weights, *model.states)}
        descriptor = _files.create(path)
        places: list[tuple[int, Tensor]] = []
        offset = 0
        for segment in _segments(container, tensors):
            if isinstance(segment, bytes):
                _files.write_at(descriptor, segment, offset)
                offset += len(segment)
                continue
            tensor = container.part(*segment) if isinstance(segment, tuple) else segment
            places.append((offset, tensor))
            offset += tensor.nbytes
        return _files.output(descriptor, places)


def _constants(
    path: Path, descriptor: Descriptor, data: Buffer
) -> tuple[dict[str, Constant], set[str]]:
    """The constants of a graph by name, and the names of those that are read as variables are."""
    constants: dict[str, Constant] = {}
    read: set[str] = set()
    for node in located(data):
        if node.number != _NODE:
            continue
        inner = list(located(data, node.start, node.stop))
        texts = {f.number: _text(data, f) for f in reversed(inner) if f.number in (_NAME, _OP)}
        name, op = texts.get(_NAME, ""), texts.get(_OP, "")
        if op == "Identity" and name.endswith(("/read", "/ReadVariableOp")):
            read.update(_text(data, field) for field in inner if field.number == _INPUT)
        if op != "Const":
            continue
        if not name or name in constants:
            raise ValueError(f"two constants are called {name!r}")
        for attribute in inner:
            constant = _constant((path, descriptor, 0), data, node, attribute)
            if constant is not None:
                constants[name] = constant
    return constants, read


def _constant(
    file: tuple[Path, Descriptor, int], data: Buffer, node: Located, attribute: Located
) -> Constant | None:
    """The constant in an attribute of a node, if it is its value."""
    if attribute.number != _ATTR:
        return None
    entry = {f.number: f for f in located(data, attribute.start, attribute.stop)}
    if _KEY not in entry or _VALUE not in entry or _text(data, entry[_KEY]) != "value":
        return None
    value = entry[_VALUE]
    for proto in located(data, value.start, value.stop):
        if proto.number == _TENSOR:
            found = find_tensor(data, proto.start, proto.stop, file)
            return Constant(node, attribute, value, proto, found) if found else None
    return None


def _text(data: Buffer, field: Located) -> str:
    return bytes(data[field.start : field.stop]).decode(errors="replace")


def _problems(model: Model) -> Iterator[str]:
    container = model.carried.container
    if not isinstance(container, GraphContainer):
        yield "it is written from a frozen graph only, whose nodes it keeps"
        return
    there = {weight.address: weight.tensor for weight in (*model.weights, *model.states)}
    for address, constant in container.constants.items():
        new, old = there.get(address), constant.found.tensor
        if new is None:
            yield f"its graph needs all of its constants, and {address} is left out or renamed"
        elif (new.shape, new.dtype) != (old.shape, old.dtype):
            yield f"{address} is {list(old.shape)} {old.dtype} in its graph, which stays as it is"


def _segments(container: GraphContainer, tensors: Mapping[str, Tensor]) -> Iterator[Segment]:
    """The new file: the old one with other constants, but for those that are the same."""
    data, done = container.data, 0
    ordered = sorted(container.constants.items(), key=lambda item: item[1].node.tag)
    for address, constant in ordered:
        new, old = tensors[address], constant.found
        if old.field is not None and isinstance(old.tensor, Stored):
            start = old.tensor.extent.offset
            yield done, start
            yield new
            done = start + new.nbytes
        elif (new.tensor if isinstance(new, Watched) else new) is not old.tensor:
            yield done, constant.node.tag
            yield from _rebuilt(data, constant, new)
            done = constant.node.stop
    yield done, len(data)


def _rebuilt(data: Buffer, constant: Constant, tensor: Tensor) -> list[Segment]:
    """A node whose value is now kept as plain bytes."""
    proto = constant.proto
    kept = b"".join(
        bytes(data[field.tag : field.stop])
        for field in located(data, proto.start, proto.stop)
        if field.number in _DESCRIBING
    )
    inner: list[Segment] = [kept, put_length(CONTENT, tensor.nbytes), tensor]
    nested = (proto, constant.value, constant.attribute, constant.node)
    for message, outer in itertools.pairwise(nested):
        head = put_length(message.number, sum(map(_size, inner)))
        inner = [(outer.start, message.tag), head, *inner, (message.stop, outer.stop)]
    return [put_length(_NODE, sum(map(_size, inner))), *inner]


def _size(segment: Segment) -> int:
    if isinstance(segment, tuple):
        return segment[1] - segment[0]
    return len(segment) if isinstance(segment, bytes) else segment.nbytes
