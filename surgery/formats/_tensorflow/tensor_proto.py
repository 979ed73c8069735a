"""TensorFlow's TensorProto: a tensor in a message, whose bytes can often be read in place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surgery.formats._tensorflow import fields
from surgery.formats._tensorflow.bundle import DTYPES
from surgery.formats._tensorflow.fields import TensorShape
from surgery.formats._tensorflow.proto import Buffer, Message, located, varint
from surgery.storage.descriptors import Descriptor, FileRange
from surgery.weights.tensor import Array, FileTensor, FunctionTensor, Tensor, constant, dtype_named

CONTENT = fields.Tensor.CONTENT
_SMALL = (fields.Tensor.DTYPE, fields.Tensor.SHAPE)
_FIXED: Mapping[int, str] = {5: "float32", 6: "float64", 9: "complex64", 12: "complex128"}
_NUMBERS = (7, 10, 11, 13, 16, 17)  # int, int64, bool, half, uint32 and uint64, as varints
_MOST_REPEATED = 1 << 30
_VARINT = 0


@dataclass(frozen=True)
class FoundTensor:
    """A tensor, its dtype code, and the message field with its plain bytes (or None)."""

    tensor: Tensor
    code: int
    field: int | None


def find_tensor(
    data: Buffer,
    start: int,
    stop: int,
    file: tuple[Path, Descriptor, int] | None = None,
    shape: tuple[int, ...] | None = None,
    code: int | None = None,
) -> FoundTensor | None:
    """Return the tensor of a TensorProto in `data`; None for strings and the like.

    `file` is (path, descriptor, offset) of `data` in a file, to read it in place. Raises ValueError
    if the message is malformed.
    """
    places = list(located(data, start, stop))
    small = b"".join(bytes(data[f.tag : f.stop]) for f in places if f.number in _SMALL)
    message = Message(small)
    code = message.integer(fields.Tensor.DTYPE) if code is None else code
    if shape is None:
        dims = message.message(fields.Tensor.SHAPE)
        shape = tuple(dim.signed(TensorShape.DIM_SIZE) for dim in dims.messages(TensorShape.DIM))
        if any(size < 0 for size in shape) or dims.integer(TensorShape.UNKNOWN_RANK):
            raise ValueError(f"a tensor has the shape {list(shape)}")
    if code not in DTYPES:
        return None
    dtype = dtype_named(DTYPES[code])
    size, item = math.prod(shape), dtype.itemsize
    for field in places:
        is_raw = field.number == CONTENT or _FIXED.get(field.number) == dtype.name
        if is_raw and field.stop - field.start == size * item and size:
            if file is None:
                raw = np.frombuffer(bytes(data[field.start : field.stop]), dtype)
                return FoundTensor(constant(raw.reshape(shape)), code, field.number)
            path, descriptor, base = file
            file_range = FileRange(path, base + field.start)
            return FoundTensor(FileTensor(shape, dtype, file_range, descriptor), code, field.number)
        if field.number == CONTENT and field.stop > field.start:
            raise ValueError(
                f"a tensor has {field.stop - field.start} bytes, which does not match its shape"
            )
    values = _values(data, places, dtype)
    if values.size > size:
        raise ValueError("a tensor has more values than its shape")
    return FoundTensor(_repeated(values, shape, dtype), code, None)


def _values(data: Buffer, places: list[Any], dtype: np.dtype[Any]) -> Array:
    """Return values that are stored one by one, or as varints."""
    fixed: list[bytes] = []
    numbers: list[int] = []
    for field in places:
        if _FIXED.get(field.number) == dtype.name:
            fixed.append(bytes(data[field.start : field.stop]))
        elif field.number in _NUMBERS:
            place = field.start
            while place < field.stop:
                number, place = varint(data, place)
                numbers.append(number)
                if field.kind == _VARINT:
                    break
    if fixed:
        return np.frombuffer(b"".join(fixed), dtype)
    raw = np.array(numbers, np.uint64)
    if dtype.kind in "iub":
        return raw.astype(dtype)
    bits: Array = raw.astype(f"u{dtype.itemsize}").view(dtype)  # float16, bfloat16, float8
    return bits


def _repeated(values: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Tensor:
    """Return a tensor whose missing values repeat the last one; with no value, zeros.

    Raises ValueError if that is much larger than the stored values.
    """
    size = math.prod(shape)
    if values.size == size:
        return constant(values.reshape(shape))
    if size * dtype.itemsize > _MOST_REPEATED:
        raise ValueError(f"a tensor of {size:,} elements has {values.size} values")
    last = values[-1] if values.size else np.zeros(1, dtype)[0]

    def read(start: int, stop: int) -> Array:
        part = np.full(stop - start, last, dtype)
        known = values[start:stop]
        part[: known.size] = known
        return part

    return FunctionTensor(shape, dtype, read)
