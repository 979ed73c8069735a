"""TensorFlow's MetaGraphDef: a graph's variables and signatures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from surgery.errors import FormatError
from surgery.formats._tensorflow.bundle import DTYPES, STRING
from surgery.formats._tensorflow.fields import (
    Collection,
    MapEntry,
    MetaGraph,
    MetaInfo,
    Signature,
    TensorInfo,
    TensorShape,
    VariableDef,
)
from surgery.formats._tensorflow.proto import Buffer, Message, check_depth, located


def parts(data: Buffer, start: int = 0, stop: int | None = None) -> dict[int, list[Buffer]]:
    """Return the fields of a MetaGraphDef by number, except the graph, which may be huge."""
    found: dict[int, list[Buffer]] = {}
    for field in located(data, start, stop):
        if field.number != MetaGraph.GRAPH:
            found.setdefault(field.number, []).append(data[field.start : field.stop])
    return found


def trained_names(path: Path) -> dict[str, bool]:
    """Return {name: whether trainable} of the variables in a `.meta` file; raises FormatError."""
    try:
        data = path.read_bytes()
        check_depth(data)
        return trained(parts(data))
    except (ValueError, IndexError) as error:
        raise FormatError(f"{path} is damaged: {error}") from None


def trained(meta: dict[int, list[Buffer]]) -> dict[str, bool]:
    """Return {name: whether trainable} of the variables in a MetaGraphDef's collections."""
    collections = {}
    for field in meta.get(MetaGraph.COLLECTIONS, []):
        entry = Message(field)
        listed = entry.message(MapEntry.VALUE).message(Collection.BYTES_LIST)
        collections[entry.text(MapEntry.KEY)] = listed
    found = {}
    for kind in ("variables", "trainable_variables"):
        held = collections.get(kind)
        for definition in held.messages(Collection.VALUE) if held is not None else []:
            name = definition.text(VariableDef.VARIABLE_NAME).removesuffix(":0")
            found[name] = kind == "trainable_variables"
    return found


def signatures(meta: dict[int, list[Buffer]]) -> Iterator[dict[str, Any]]:
    """Yield a MetaGraphDef's signatures: tags, name, method, inputs and outputs with shapes."""
    info = Message(meta.get(MetaGraph.META_INFO, [b""])[0])
    tags = [tag.decode(errors="replace") for tag in info.strings(MetaInfo.TAGS)]
    for field in sorted(meta.get(MetaGraph.SIGNATURES, []), key=bytes):
        entry = Message(field)
        definition = entry.message(MapEntry.VALUE)
        if entry.text(MapEntry.KEY) == "__saved_model_init_op":
            continue
        yield {
            "tags": tags,
            "name": entry.text(MapEntry.KEY),
            "method": definition.text(Signature.METHOD_NAME),
            "inputs": _tensors(definition.messages(Signature.INPUTS)),
            "outputs": _tensors(definition.messages(Signature.OUTPUTS)),
        }


def _tensors(entries: Sequence[Message]) -> dict[str, Any]:
    found = {}
    for entry in sorted(entries, key=lambda entry: entry.text(MapEntry.KEY)):
        info = entry.message(MapEntry.VALUE)
        shape, code = info.message(TensorInfo.SHAPE), info.integer(TensorInfo.DTYPE)
        dims = [dim.signed(TensorShape.DIM_SIZE) for dim in shape.messages(TensorShape.DIM)]
        is_unknown = bool(shape.integer(TensorShape.UNKNOWN_RANK))
        found[entry.text(MapEntry.KEY)] = {
            "shape": None if is_unknown else [None if n < 0 else n for n in dims],
            "dtype": DTYPES.get(code, "string" if code == STRING else "?"),
        }
    return found
