"""TensorFlow's object graph, written: of new objects, or one without some of its values."""

from __future__ import annotations

from collections.abc import Sequence, Set

from surgery.formats._tensorflow.objects import ATTRIBUTES, SLOTS, CheckpointNode, read_graph
from surgery.formats._tensorflow.proto import Located, Message, located, put_bytes, put_integer


def put_graph(nodes: Sequence[CheckpointNode]) -> bytes:
    """The TrackableObjectGraph of those objects, in TensorFlow's own bytes."""
    holders = _holders(nodes)
    out = []
    for number, node in enumerate(nodes):
        inner = b"".join(
            put_bytes(1, put_integer(1, child) + put_bytes(2, name.encode()))
            for name, child in node.children
        )
        for name, full_name, key in node.attributes:
            texts = enumerate((name, full_name, key), 1)
            inner += put_bytes(2, b"".join(put_bytes(n, text.encode()) for n, text in texts))
        out.append(put_bytes(1, inner + put_bytes(5, put_integer(1, int(number in holders)))))
    return b"".join(out)


def without_values(graph: bytes, keys: Set[str]) -> bytes:
    """A TrackableObjectGraph whose objects do not have the values of those keys any more.

    The objects stay, as others refer to them by number; what has no value is no slot.
    """
    nodes = read_graph(graph)
    gone = {n for n, node in enumerate(nodes) if any(key in keys for *_, key in node.attributes)}

    def stays(field: Located) -> bool:
        if field.number not in (ATTRIBUTES, SLOTS):
            return True
        message = Message(graph[field.start : field.stop])
        if field.number == SLOTS:
            return message.integer(3) not in gone
        return message.text(3) not in keys

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
    """The objects with values in a checkpoint, and all that those are inside of."""
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
