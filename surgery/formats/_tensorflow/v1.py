"""TensorFlow's first checkpoint format: tables whose values are slices of tensors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from surgery.errors import FormatError
from surgery.formats._tensorflow.bundle import parsed_slice
from surgery.formats._tensorflow.fields import SavedSlice, SavedSliceMeta, SavedSlices, TensorShape
from surgery.formats._tensorflow.parts import Parts, Shape, Slice, joined
from surgery.formats._tensorflow.proto import Buffer, Message, located
from surgery.formats._tensorflow.sstable import Table
from surgery.formats._tensorflow.tensor_proto import find_tensor
from surgery.storage.descriptors import Descriptor
from surgery.weights.tensor import Tensor

_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})")
_PATTERN = re.compile(r"(.+?)(?:-(?:\d{5}|\?{5})-of-(\d{5})|@(\d+))")
"""TensorFlow 1's names for all shards: `export-?????-of-00002`, `export@2`."""


def shards(path: Path) -> list[Path]:
    """Return all files of a checkpoint, given one file, a pattern, or the common prefix.

    Raises FormatError if shards are missing.
    """
    named = _PATTERN.fullmatch(path.name)
    if path.is_file() and not _SHARD.fullmatch(path.name):
        return [path]
    stem = named[1] if named else path.name
    found = {
        int(shard[2]): (file, int(shard[3]))
        for file in sorted(path.parent.glob("*-of-*"))
        if (shard := _SHARD.fullmatch(file.name)) and shard[1] == stem
        if named is None or int(shard[3]) == int(named[2] or named[3])
    }
    counts = {count for _, count in found.values()}
    if found and (len(counts) > 1 or set(found) != set(range(min(counts)))):
        raise FormatError(f"{path}: only {len(found)} of its {max(counts)} shards are there")
    return [found[number][0] for number in sorted(found)]


def read_v1(files: Sequence[Path]) -> dict[str, Tensor]:
    """Return the tensors by name; raises FormatError for a damaged file."""
    shapes: dict[str, tuple[Shape, int]] = {}
    found: dict[str, list[tuple[Slice, Tensor]]] = {}
    for path in files:
        descriptor = Descriptor.open(path)
        try:
            for key, value, place in Table(path).places():
                if not key:
                    shapes.update(_shapes(Message(value).message(SavedSlices.META)))
                    continue
                name, one, tensor = _slice(value, (path, descriptor, place), shapes)
                if tensor is not None:
                    found.setdefault(name, []).append((one, tensor))
        except (ValueError, IndexError, KeyError) as error:
            raise FormatError(f"{path} is damaged: {error}") from None
    tensors = {}
    for name, parts in found.items():
        shape, dtype = shapes[name][0], parts[0][1].dtype
        if len(parts) == 1 and parts[0][1].shape == shape:
            tensors[name] = parts[0][1]
            continue
        keyed = {str(number).encode(): part for number, part in enumerate(parts)}
        try:
            whole = Parts(shape, [(key, one) for key, (one, _) in keyed.items()])
        except ValueError as error:
            raise FormatError(f"{files[0]}: the parts of {name} {error}") from None
        tensors[name] = joined(whole, shape, dtype, [keyed[key][1] for key in whole.keys])
    return tensors


def _shapes(meta: Message) -> dict[str, tuple[Shape, int]]:
    found = {}
    for tensor in meta.messages(SavedSliceMeta.LIST):
        dims = tensor.message(SavedSliceMeta.SHAPE).messages(TensorShape.DIM)
        shape = tuple(dim.signed(TensorShape.DIM_SIZE) for dim in dims)
        if any(size < 0 for size in shape):
            raise ValueError(f"a shape is {list(shape)}")
        name = tensor.text(SavedSliceMeta.NAME)
        found[name] = (shape, tensor.integer(SavedSliceMeta.DTYPE))
    return found


def _slice(
    value: Buffer,
    file: tuple[Path, Descriptor, int | None],
    shapes: dict[str, tuple[Shape, int]],
) -> tuple[str, Slice, Tensor | None]:
    """Return (tensor name, slice, its elements) of a table's value; raises ValueError."""
    path, descriptor, base = file
    (saved,) = [field for field in located(value) if field.number == SavedSlices.DATA]
    places = {field.number: field for field in located(value, saved.start, saved.stop)}
    named = places[SavedSlice.NAME]
    name = bytes(value[named.start : named.stop]).decode(errors="replace")
    shape, code = shapes[name]
    where = places.get(SavedSlice.SLICE)
    one = parsed_slice(bytes(value[where.start : where.stop])) if where else ()
    one = one or tuple((0, -1) for _ in shape)
    if len(one) != len(shape):
        raise ValueError(f"a slice of {name} differs from it in rank")
    size = tuple(n if length < 0 else length for n, (_, length) in zip(shape, one, strict=True))
    held = None if base is None else (path, descriptor, base)
    data = places[SavedSlice.DATA]
    found = find_tensor(value, data.start, data.stop, held, size, code)
    return name, one, found.tensor if found else None
