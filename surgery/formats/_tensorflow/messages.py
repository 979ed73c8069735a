"""TensorFlow's messages that occur by the thousand, read by protocol buffers' C parser.

The schemas are given here, because TensorFlow's own come only with its import. Undeclared
fields are skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from surgery.formats._tensorflow.proto import Buffer

_SCHEMAS: Mapping[str, str] = {
    # TrackableObjectGraph
    "Graph": "repeated Object nodes 1",
    "Object": "repeated Child children 1, repeated Attribute attributes 2, repeated Slot slots 3",
    "Child": "int32 node 1, string name 2",
    "Attribute": "string name 1, string full_name 2, string key 3",
    "Slot": "int32 of 1, string name 2, int32 node 3",
    # BundleEntryProto
    "Entry": "int32 code 1, bytes shape 2, int32 shard 3, int64 offset 4, int64 size 5, "
    "fixed32 crc 6, repeated bytes slices 7",
    # SavedObjectGraph
    "SavedObjects": "repeated SavedObject nodes 1",
    "SavedObject": "User user 4, Variable variable 7",
    "User": "string metadata 3",
    "Variable": "bool trainable 3",
}


@cache
def _parser(kind: str) -> tuple[Callable[[bytes], Any], type[Exception]]:
    """Return what parses a kind of message, and the error that it raises for a broken one."""
    from google.protobuf.message import DecodeError

    return _classes()[kind].FromString, DecodeError


@cache
def _classes() -> dict[str, Any]:
    """Return the class of each message; protocol buffers are imported on first use."""
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message_factory import GetMessageClass

    file = FileDescriptorProto(name="surgery.proto", package="surgery", syntax="proto3")
    for name, schema in _SCHEMAS.items():
        message = file.message_type.add(name=name)
        for declared in schema.split(", "):
            *labels, kind, field, number = declared.split()
            label, of_message = (labels or ["optional"])[0], kind in _SCHEMAS
            type_ = "message" if of_message else kind
            message.field.add(
                name=field,
                number=int(number),
                label=FieldDescriptorProto.Label.Value(f"LABEL_{label.upper()}"),
                type=FieldDescriptorProto.Type.Value(f"TYPE_{type_.upper()}"),
                type_name=f".surgery.{kind}" if of_message else None,
            )
    pool = DescriptorPool()
    pool.Add(file)
    return {n: GetMessageClass(pool.FindMessageTypeByName(f"surgery.{n}")) for n in _SCHEMAS}


def parse(kind: str, data: Buffer) -> Any:
    """Parse a message of a kind of `_SCHEMAS`; raises ValueError if it is malformed."""
    parsed, broken = _parser(kind)
    try:
        return parsed(bytes(data))
    except broken:
        raise ValueError(f"a message ({kind}) is malformed") from None
