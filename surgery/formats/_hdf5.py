"""HDF5 without copying: the elements of datasets are read and written in place, by offset."""

from __future__ import annotations

import math
import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from surgery.errors import FormatError
from surgery.formats._chunks import check_chunks
from surgery.storage.descriptors import Descriptor, FileRange
from surgery.storage.disk import Window
from surgery.weights.model import Model
from surgery.weights.tensor import (
    Array,
    FileTensor,
    FunctionTensor,
    Reduction,
    Tensor,
    dtype_named,
    is_numpy_dtype,
)

ATTRIBUTE_LIMIT = 64512
"""The most bytes of an attribute, which must fit into an object header; longer ones are split."""

MAGIC = b"\x89HDF\r\n\x1a\n"
_MOST_UNSTORED, _MOST_UNPACKED = 64 << 20, 1100
"""Bytes that any dataset may unpack to, plus this many times its stored size."""
_LARGEST_CHUNK = 1 << 26
"""The most elements of a chunk, which HDF5 unpacks whole."""
_MOST_ROWS = 1 << 22
"""The most elements read at a time from a dataset that is not contiguous."""


_LINKS = {h5py.h5l.TYPE_SOFT: "SoftLink", h5py.h5l.TYPE_EXTERNAL: "ExternalLink"}


class _Padded(Window):
    """A window that reads zeros beyond its end, as HDF5's own driver does."""

    def readinto(self, buffer: Any) -> int:
        """Read at the current position, and fill the rest of the buffer with zeros."""
        view = memoryview(buffer)
        count = super().readinto(view)
        view[count:] = bytes(len(view) - count)
        self.position += len(view) - count
        return len(view)


class Reader:
    """An HDF5 file, or one inside another file, opened for lazy reading."""

    def __init__(
        self,
        path: Path,
        part: tuple[Descriptor, int, int] | None = None,
        seen: Callable[[int, memoryview], None] | None = None,
    ) -> None:
        """Open the file; `part` is (descriptor, first byte, size) of one inside another file.

        `seen(offset, bytes)` is called for every whole chunk read. Raises FormatError.
        """
        self.path = path
        self._seen = seen
        self._is_needed = False
        try:
            self.descriptor, self.base, size = part or (Descriptor.open(path), 0, None)
            whole = os.fstat(self.descriptor).st_size
            self._end = whole if size is None else self.base + size
            self.file = h5py.File(_Padded(self.descriptor, self.base, self._end - self.base), "r")
            self._userblock = self.file.userblock_size
        except OSError as error:
            raise FormatError(f"{path} {_reason(error)}") from None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file, unless h5py is needed to read datasets that are not contiguous."""
        if not self._is_needed:
            self.file.close()

    def groups(self, root: h5py.Group) -> Iterator[tuple[str, h5py.Group]]:
        """Yield (path, group) for `root` and all groups below it; raises FormatError for links."""
        stack = [("", root.id)]
        known = set()
        while stack:
            path, group = stack.pop()
            address = h5py.h5o.get_info(group).addr
            if address in known:
                raise FormatError(f"{self.path}: {_path(group)} is a group that is linked twice")
            known.add(address)
            yield path, h5py.Group(group)
            inner = [
                (f"{path}/{name}" if path else name, h5py.h5o.open(group, _bytes(name)))
                for name in h5py.Group(group)
                if self._kind(group, name) == h5py.h5o.TYPE_GROUP
            ]
            stack.extend(reversed(inner))

    def holds_variables(self) -> bool:
        """Return whether it stores variables as Keras 3: by number, in groups `vars`."""
        return any(
            path.rpartition("/")[2] == "vars" and all(name.isdigit() for name in group)
            for path, group in self.groups(self.file)
        )

    def _kind(self, group: h5py.h5g.GroupID, name: str) -> int:
        """Return HDF5's type of a group's member; raises FormatError for soft and external links.

        It uses h5py's low-level calls for speed, as it runs for each weight.
        """
        link = group.links.get_info(_bytes(name)).type
        if link != h5py.h5l.TYPE_HARD:
            raise FormatError(
                f"{self.path}: {_path(group)}/{name} is a {_LINKS.get(link, 'strange link')}; "
                "links out of a model file are not followed"
            )
        return int(h5py.h5o.get_info(group, _bytes(name)).type)

    def tensor(self, group: h5py.Group, name: str) -> Tensor:
        """Return the dataset of that name (or path) as a lazy tensor; raises FormatError."""
        parent, _, last = name.rpartition("/")
        found = group.id
        for part in parent.split("/") if parent else []:
            found = self._member(found, part, h5py.h5o.TYPE_GROUP)
        return self._tensor(self._member(found, last, h5py.h5o.TYPE_DATASET))

    def _member(self, group: h5py.h5g.GroupID, name: str, kind: int) -> Any:
        if not group.links.exists(_bytes(name)):
            raise FormatError(f"{self.path} has no {_path(group)}/{name}, though it is listed")
        if self._kind(group, name) != kind:
            wanted = "group" if kind == h5py.h5o.TYPE_GROUP else "dataset"
            raise FormatError(f"{self.path}: {_path(group)}/{name} is not a {wanted}")
        return h5py.h5o.open(group, _bytes(name))

    def _tensor(self, dataset: h5py.h5d.DatasetID) -> Tensor:
        plist = dataset.get_create_plist()
        layout = plist.get_layout()
        if plist.get_external_count() or layout == h5py.h5d.VIRTUAL:
            raise FormatError(
                f"{self.path}: {_path(dataset)} has its values in other files, which are not read"
            )
        for number in range(plist.get_nfilters()):
            if not h5py.h5z.filter_avail(plist.get_filter(number)[0]):
                raise FormatError(
                    f"{self.path}: {_path(dataset)} is compressed by a filter that is missing "
                    f"({plist.get_filter(number)[3].decode(errors='replace') or 'unknown'})"
                )
        dtype, shape = _dtype(dataset), dataset.shape
        if shape is None or dtype.hasobject:
            raise FormatError(f"{self.path}: {_path(dataset)} is not an array of numbers")
        size = math.prod(shape) * dtype.itemsize
        offset = dataset.get_offset() if layout == h5py.h5d.CONTIGUOUS else None
        if offset is None:
            if size > _MOST_UNSTORED + _MOST_UNPACKED * dataset.get_storage_size():
                raise FormatError(
                    f"{self.path}: {_path(dataset)} claims {size:,} bytes, and "
                    f"{dataset.get_storage_size():,} are stored"
                )
            if layout == h5py.h5d.CHUNKED and math.prod(plist.get_chunk()) > _LARGEST_CHUNK:
                raise FormatError(
                    f"{self.path}: {_path(dataset)} is stored in chunks that are too large"
                )
        little = dtype.newbyteorder("<") if dtype.kind in "iufc" else dtype
        if offset is None or self._userblock or self._is_beyond(offset, dataset):
            return self._computed(h5py.Dataset(dataset), layout, little)
        file_range = FileRange(self.path, self.base + offset)
        stored = FileTensor(shape, dtype, file_range, self.descriptor, self._seen)
        if dtype == little:
            return stored
        return FunctionTensor(
            shape, little, lambda start, stop: stored.read(start, stop).astype(little)
        )

    def _computed(self, dataset: h5py.Dataset, layout: int, dtype: np.dtype[Any]) -> Tensor:
        """Return a tensor whose elements h5py reads, as they are not contiguous in the file."""
        self._is_needed = True
        elements = _element_reader(dataset, dtype)
        whole = Reduction(lambda _: self._check_chunks(dataset, layout), 0)

        def read(start: int, stop: int) -> Array:
            try:
                whole.result()
                return elements(start, stop)
            except (OSError, RuntimeError, ValueError, zlib.error) as error:
                raise FormatError(f"{self.path}: {dataset.name} cannot be read: {error}") from error

        return FunctionTensor(dataset.shape, dtype, read)

    def _check_chunks(self, dataset: h5py.Dataset, layout: int) -> None:
        if layout == h5py.h5d.CHUNKED:
            check_chunks(dataset, self.descriptor, self.base + self._userblock)

    def _is_beyond(self, offset: int, dataset: h5py.h5d.DatasetID) -> bool:
        end = self.base + offset + dataset.get_storage_size()
        if end > self._end:
            raise FormatError(f"{self.path} is truncated: {_path(dataset)} would end at byte {end}")
        return False


def _reason(error: OSError) -> str:
    """Return what is wrong with a file that HDF5 does not open, to follow its name."""
    if found := re.search(r"truncated file: eof = (\d+).* stored_eof = (\d+)", str(error)):
        there, wanted = (f"{int(number):,}" for number in found.groups())
        return f"is truncated: it has {there} bytes of {wanted}; download or copy it again"
    return f"is not a readable HDF5 file: {error}"


def _bytes(name: str) -> bytes:
    """Return a name as HDF5's bytes; bytes that are not UTF-8 were read as surrogates."""
    return name.encode(errors="surrogateescape")


def _path(item: h5py.h5g.GroupID | h5py.h5d.DatasetID) -> str:
    """Return an object's path in the file, for messages."""
    return (h5py.h5i.get_name(item) or b"?").decode(errors="replace")


def _dtype(dataset: h5py.h5d.DatasetID) -> np.dtype[Any]:
    """Return the dtype of a dataset; Keras stores bfloat16 as two opaque bytes."""
    dtype: np.dtype[Any] = dataset.dtype
    if dtype.kind == "V" and dtype.itemsize == 2 and not dtype.names:
        return dtype_named("bfloat16")
    return dtype


def _element_reader(dataset: h5py.Dataset, dtype: np.dtype[Any]) -> Callable[[int, int], Array]:
    """Make a function that reads flat ranges of a dataset that is not contiguous."""
    shape = dataset.shape

    def read(start: int, stop: int, at: tuple[int, ...] = ()) -> Array:
        inner = shape[len(at) :]
        if not inner:
            return np.asarray(dataset[at or ()]).reshape(-1).view(dtype) if start < stop else _EMPTY
        row = int(np.prod(inner[1:], dtype=np.int64))
        if start >= stop or not row:
            return np.empty(0, dtype)
        first, last = start // row, -(-stop // row)
        if (last - first) * row <= max(_MOST_ROWS, 2 * (stop - start)) or len(inner) == 1:
            block = np.asarray(dataset[(*at, slice(first, last))]).reshape(-1)
            block = block[start - first * row : stop - first * row]
            return block.view(dtype) if block.dtype.kind == "V" else block.astype(dtype, copy=False)
        parts = [
            read(max(start - r * row, 0), min(stop - r * row, row), (*at, r))
            for r in range(first, last)
        ]
        return np.concatenate(parts)

    return read


_EMPTY = np.empty(0)


class Writer:
    """A writer that lays out an HDF5 file, all but the elements, whose offsets are then known."""

    def __init__(self, file: h5py.File) -> None:
        self.file = file
        self._placed: list[tuple[h5py.h5d.DatasetID, Tensor]] = []

    def group(self, path: str) -> h5py.Group:
        """Return the group at that path, created if it is missing."""
        return self.file.require_group(path) if path else self.file

    def dataset(self, path: str, tensor: Tensor) -> None:
        """Create a dataset for a tensor's elements, which are written later.

        bfloat16, which HDF5 lacks, is stored as two opaque bytes with an attribute, as in Keras.
        """
        parent, _, name = path.rpartition("/")
        group = self.group(parent)
        is_opaque = tensor.dtype.name == "bfloat16"
        stored = np.dtype("V2") if is_opaque else tensor.dtype
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.CONTIGUOUS)
        plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        plist.set_obj_track_times(False)
        space = (
            h5py.h5s.create_simple(tensor.shape)
            if tensor.shape
            else h5py.h5s.create(h5py.h5s.SCALAR)
        )
        kind = h5py.h5t.py_create(stored, logical=True)
        identifier = h5py.h5d.create(group.id, name.encode(), kind, space, plist)
        if is_opaque:
            h5py.Dataset(identifier).attrs["dtype"] = "bfloat16"
        self._placed.append((identifier, tensor))

    def places(self) -> list[tuple[int, Tensor]]:
        """Return (offset from the file's start, tensor) of all tensors that are not empty."""
        placed = [(identifier.get_offset(), tensor) for identifier, tensor in self._placed]
        return [(offset, tensor) for offset, tensor in placed if offset is not None]


def unheld(model: Model) -> list[str]:
    """Return a message about the first weight of a dtype that HDF5 cannot store, or nothing."""
    return [
        f"{weight.address} is {weight.tensor.dtype.name}, which HDF5 files cannot store"
        for weight in model.weights
        if not is_numpy_dtype(weight.tensor.dtype) and weight.tensor.dtype.name != "bfloat16"
    ][:1]


def lay_out(
    descriptor: int, base: int, build: Callable[[Writer], None]
) -> list[tuple[int, Tensor]]:
    """Write an HDF5 file without elements at byte `base`; returns (absolute offset, tensor)s.

    It is reproducible: no times are tracked and no space is reused.
    """
    with h5py.File(_Padded(descriptor, base), "w", libver="earliest") as file:
        writer = Writer(file)
        build(writer)
        places = writer.places()
    return [(base + offset, tensor) for offset, tensor in places]
