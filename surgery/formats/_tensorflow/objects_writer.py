"""Writing of TensorFlow's object graph: of new objects, or an old one with values removed."""

from __future__ import annotations

from collections.abc import Sequence, Set

from surgery.formats._tensorflow.fields import (
    ObjectGraph,
    ObjectReference,
    SerializedTensor,
    SlotVariableReference,
    TrackableObject,
)
from surgery.formats._tensorflow.objects import CheckpointNode, read_graph
from surgery.formats._tensorflow.proto import Located, Message, located, put_bytes, put_integer

_BOOL_VALUE = 1
"""The only field of a BoolValue."""


def put_graph(nodes: Sequence[CheckpointNode]) -> bytes:
    """Serialise a TrackableObjectGraph exactly as TensorFlow does."""
    holders = _holders(nodes)
    out = []
    for number, node in enumerate(nodes):
        inner = b"".join(
            put_bytes(TrackableObject.CHILDREN, _reference(name, child))
            for name, child in node.children
        )
        for name, full_name, key in node.attributes:
            inner += put_bytes(TrackableObject.ATTRIBUTES, _value(name, full_name, key))
        has_values = put_integer(_BOOL_VALUE, int(number in holders))
        inner += put_bytes(TrackableObject.HAS_CHECKPOINT_VALUES, has_values)
        out.append(put_bytes(ObjectGraph.NODES, inner))
    return b"".join(out)


def _reference(name: str, child: int) -> bytes:
    return put_integer(ObjectReference.NODE_ID, child) + put_bytes(
        ObjectReference.LOCAL_NAME, name.encode()
    )


def _value(name: str, full_name: str, key: str) -> bytes:
    return (
        put_bytes(SerializedTensor.NAME, name.encode())
        + put_bytes(SerializedTensor.FULL_NAME, full_name.encode())
        + put_bytes(SerializedTensor.CHECKPOINT_KEY, key.encode())
    )


def without_values(graph: bytes, keys: Set[str]) -> bytes:
    """Return a serialised TrackableObjectGraph without the values of these keys.

    The objects stay, as they are referred to by number; slots without values are removed.
    """
    nodes = read_graph(graph)
    gone = {n for n, node in enumerate(nodes) if any(key in keys for *_, key in node.attributes)}

    def stays(field: Located) -> bool:
        if field.number not in (TrackableObject.ATTRIBUTES, TrackableObject.SLOT_VARIABLES):
            return True
        message = Message(graph[field.start : field.stop])
        if field.number == TrackableObject.SLOT_VARIABLES:
            return message.integer(SlotVariableReference.SLOT_NODE_ID) not in gone
        return message.text(SerializedTensor.CHECKPOINT_KEY) not in keys

    out = []
    for outer in located(graph):
        inner = [
            graph[field.tag : field.stop]
            for field in located(graph, outer.start, outer.stop)
            if stays(field)
        ]
        out.append(put_bytes(outer.number, b"".join(inner)))
    return b"".join(out)


def _holders(nodes: Sequence[CheckpointNode]) -> set[int]:
    """Return the objects that have values in a checkpoint, and all their ancestors."""
    parents: dict[int, list[int]] = {}
    for number, node in enumerate(nodes):
        for _, child in node.children:
            parents.setdefault(child, []).append(number)
    left = [number for number, node in enumerate(nodes) if node.attributes]
    found = set(left)
    while left:
        new = set(parents.get(left.pop(), ())) - found
        found |= new
        left += new
    return found
