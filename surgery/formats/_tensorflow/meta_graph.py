"""TensorFlow's MetaGraphDef: what a graph says of its variables and signatures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from surgery.errors import FormatError
from surgery.formats._tensorflow.bundle import DTYPES
from surgery.formats._tensorflow.proto import Buffer, Message, check_depth, located

_GRAPH, _COLLECTIONS, _SIGNATURES, _OBJECTS = 2, 4, 5, 7


def parts(data: Buffer, start: int = 0, stop: int | None = None) -> dict[int, list[Buffer]]:
    """The fields of a MetaGraphDef by number; the graph itself, which may be huge, unread."""
    found: dict[int, list[Buffer]] = {}
    for field in located(data, start, stop):
        if field.number != _GRAPH:
            found.setdefault(field.number, []).append(data[field.start : field.stop])
    return found


def trained_names(path: Path) -> dict[str, bool]:
    """Whether TensorFlow 1 trains each variable that a `.meta` file lists."""
    try:
        data = path.read_bytes()
        check_depth(data)
        return trained(parts(data))
    except (ValueError, IndexError) as error:
        raise FormatError(f"{path} is damaged: {error}") from None


def trained(meta: dict[int, list[Buffer]]) -> dict[str, bool]:
    """Whether each variable in a MetaGraphDef's collections is trained, by its name."""
    collections = {}
    for field in meta.get(_COLLECTIONS, []):
        entry = Message(field)
        collections[entry.text(1)] = entry.message(2).message(2)  # a list of bytes
    found = {}
    for kind in ("variables", "trainable_variables"):
        for definition in collections[kind].messages(1) if kind in collections else []:
            name = definition.text(1).removesuffix(":0")
            found[name] = kind == "trainable_variables"
    return found


def signatures(meta: dict[int, list[Buffer]]) -> Iterator[dict[str, Any]]:
    """A MetaGraphDef's signatures: tags, name, method, inputs and outputs with their shapes."""
    tags = [tag.decode(errors="replace") for tag in Message(meta.get(1, [b""])[0]).strings(4)]
    for field in sorted(meta.get(_SIGNATURES, []), key=bytes):
        entry = Message(field)
        definition = entry.message(2)
        if entry.text(1) == "__saved_model_init_op":
            continue
        yield {
            "tags": tags,
            "name": entry.text(1),
            "method": definition.text(3),
            "inputs": _tensors(definition.messages(1)),
            "outputs": _tensors(definition.messages(2)),
        }


def _tensors(entries: Sequence[Message]) -> dict[str, Any]:
    found = {}
    for entry in sorted(entries, key=lambda entry: entry.text(1)):
        info = entry.message(2)
        shape = info.message(3)
        dims = [size.signed(1) for size in shape.messages(2)]
        found[entry.text(1)] = {
            "shape": None if shape.integer(3) else [None if n < 0 else n for n in dims],
            "dtype": DTYPES.get(info.integer(2), "string" if info.integer(2) == 7 else "?"),
        }
    return found
