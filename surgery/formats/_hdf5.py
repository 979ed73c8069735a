"""HDF5 without copying: the elements of datasets are read and written in place, by offset."""

from __future__ import annotations

import contextlib
import math
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from surgery.errors import FormatError
from surgery.formats._chunks import check_chunks
from surgery.storage.descriptors import Descriptor, FileRange, preadv
from surgery.storage.disk import Window
from surgery.weights.model import Model
from surgery.weights.tensor import (
    Array,
    FileTensor,
    FunctionTensor,
    Reduction,
    Tensor,
    dtype_name,
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
        wanted = max(0, min(len(view), self._length() - self.position))
        count = preadv(self.descriptor, view[:wanted], self.base + self.position) if wanted else 0
        if count < len(view):
            view[count:] = bytes(len(view) - count)
        self.position += len(view)
        return len(view)


Members = dict[str, "h5py.h5d.DatasetID | None"]
"""The members of a group by name: a dataset, or None for anything else."""


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
            descriptor, self.base, size = part or (Descriptor.open(path), 0, None)
            own = _opened_by_hdf5(path) if part is None and descriptor.copy is None else None
            if own is not None:
                descriptor = Descriptor(os.dup(own.id.get_vfd_handle()))
            if size is None:
                size = os.fstat(descriptor).st_size
            self.descriptor, self._end = descriptor, self.base + size
            self.file = own or h5py.File(_Padded(descriptor, self.base, size), "r")
            self._userblock = self.file.userblock_size
        except OSError as error:
            raise FormatError(f"{path} {_reason(error)}") from None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file, unless h5py is needed to read datasets that are not contiguous."""
        if not self._is_needed:
            self.file.close()

    def groups(self) -> Iterator[tuple[str, h5py.h5g.GroupID, Members]]:
        """Yield (path, group, members) of all groups, inner ones first.

        Raises FormatError for soft and external links.
        It uses h5py's low-level calls, and opens each object once: it runs for every weight.
        """
        root = self.file.id
        known = {h5py.h5o.get_info(root).addr}
        stack: list[tuple[str, Any, Iterator[tuple[str, int]], Members]] = [
            ("", root, self._links(root), {})
        ]
        while stack:
            path, group, links, members = stack[-1]
            for name, address in links:
                found = h5py.h5o.open(group, _bytes(name))
                members[name] = found if isinstance(found, h5py.h5d.DatasetID) else None
                if not isinstance(found, h5py.h5g.GroupID):
                    continue
                if address in known:
                    where = _path(found)
                    raise FormatError(f"{self.path}: {where} is a group that is linked twice")
                known.add(address)
                below = f"{path}/{name}" if path else name
                stack.append((below, found, self._links(found), {}))
                break
            else:
                stack.pop()
                yield path, group, members

    def _links(self, group: h5py.h5g.GroupID) -> Iterator[tuple[str, int]]:
        """Yield (name, address) of a group's members in h5py's order."""
        found: list[tuple[int, bytes, int, int]] = []

        def note(name: bytes, link: Any) -> None:
            found.append((link.corder if link.corder_valid else 0, name, link.type, link.u))

        group.links.iterate(note, info=True)
        for _, name, kind, address in sorted(found, key=itemgetter(0)):
            text = name.decode(errors="surrogateescape")
            self._check_link(group, text, kind)
            yield text, address

    def _check_link(self, group: h5py.h5g.GroupID, name: str, kind: int) -> None:
        """Raise FormatError for soft and external links."""
        if kind != h5py.h5l.TYPE_HARD:
            raise FormatError(
                f"{self.path}: {_path(group)}/{name} is a {_LINKS.get(kind, 'strange link')}; "
                "links out of a model file are not followed"
            )

    def holds_variables(self) -> bool:
        """Return whether it stores variables as Keras 3: by number, in groups `vars`."""
        return any(
            path.rpartition("/")[2] == "vars" and all(name.isdigit() for name in members)
            for path, _, members in self.groups()
        )

    def group(self, group: h5py.h5g.GroupID, path: str) -> h5py.h5g.GroupID:
        """Return the group at a path below another one; raises FormatError."""
        for name in filter(None, path.split("/")):
            found = self._member(group, name)
            if not isinstance(found, h5py.h5g.GroupID):
                raise FormatError(f"{self.path}: {_path(group)}/{name} is not a group")
            group = found
        return group

    def tensors(self, group: h5py.h5g.GroupID, names: Iterable[str]) -> Iterator[Tensor]:
        """Yield the datasets of those names (or paths) as lazy tensors; raises FormatError."""
        parents: dict[str, h5py.h5g.GroupID] = {}
        for name in names:
            parent, _, last = name.rpartition("/")
            if parent not in parents:
                parents[parent] = self.group(group, parent)
            found = self._member(parents[parent], last)
            is_dataset = isinstance(found, h5py.h5d.DatasetID)
            yield self.tensor(parents[parent], last, found if is_dataset else None)

    def _member(self, group: h5py.h5g.GroupID, name: str) -> Any:
        if not group.links.exists(_bytes(name)):
            raise FormatError(f"{self.path} has no {_path(group)}/{name}, though it is listed")
        self._check_link(group, name, group.links.get_info(_bytes(name)).type)
        return h5py.h5o.open(group, _bytes(name))

    def tensor(
        self, group: h5py.h5g.GroupID, name: str, dataset: h5py.h5d.DatasetID | None
    ) -> Tensor:
        """The dataset of that name in a group as a lazy tensor."""
        if dataset is None:
            raise FormatError(f"{self.path}: {_path(group)}/{name} is not a dataset")
        offset = dataset.get_offset()  # of one that lies in one piece, in this file
        if offset is None or self._userblock:
            return self._computed(dataset)
        dtype, shape, little = self._array(dataset)
        file_range = FileRange(self.path, self.base + offset)
        stored = FileTensor(shape, dtype, file_range, self.descriptor, self._seen)
        if (end := file_range.offset + stored.nbytes) > self._end:
            raise FormatError(f"{self.path} is cut short: {_path(dataset)} would end at byte {end}")
        if dtype == little:
            return stored
        return FunctionTensor(
            shape, little, lambda start, stop: stored.read(start, stop).astype(little)
        )

    def _array(
        self, dataset: h5py.h5d.DatasetID
    ) -> tuple[np.dtype[Any], tuple[int, ...], np.dtype[Any]]:
        """The dtype as it is stored, the shape, and the dtype of the elements that are read."""
        dtype, shape = _dtype(dataset), dataset.shape
        if shape is None or dtype.hasobject:
            raise FormatError(f"{self.path}: {_path(dataset)} is not an array of numbers")
        return dtype, shape, dtype.newbyteorder("<") if dtype.kind in "iufc" else dtype

    def _computed(self, dataset: h5py.h5d.DatasetID) -> Tensor:
        """A tensor whose elements h5py reads, as they do not lie in one piece."""
        plist = dataset.get_create_plist()
        layout = plist.get_layout()
        self._check_storage(dataset, plist, layout)
        _, shape, dtype = self._array(dataset)
        size, stored = math.prod(shape) * dtype.itemsize, dataset.get_storage_size()
        if dataset.get_offset() is None and size > _MOST_UNSTORED + _MOST_UNPACKED * stored:
            raise FormatError(
                f"{self.path}: {_path(dataset)} claims {size:,} bytes, and {stored:,} are stored"
            )
        self._is_needed = True
        h5 = h5py.Dataset(dataset)
        elements = _element_reader(h5, dtype)
        whole = Reduction(lambda _: self._check_chunks(h5, layout), 0)

        def read(start: int, stop: int) -> Array:
            try:
                whole.result()
                return elements(start, stop)
            except (OSError, RuntimeError, ValueError, zlib.error) as error:
                raise FormatError(f"{self.path}: {h5.name} cannot be read: {error}") from error

        return FunctionTensor(shape, dtype, read)

    def _check_storage(
        self, dataset: h5py.h5d.DatasetID, plist: h5py.h5p.PropDCID, layout: int
    ) -> None:
        """Raise FormatError for elements in other files, or packed in a way that is not read."""
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
        if layout == h5py.h5d.CHUNKED and math.prod(plist.get_chunk()) > _LARGEST_CHUNK:
            raise FormatError(
                f"{self.path}: {_path(dataset)} is stored in chunks that are too large"
            )

    def _check_chunks(self, dataset: h5py.Dataset, layout: int) -> None:
        if layout == h5py.h5d.CHUNKED:
            check_chunks(dataset, self.descriptor, self.base + self._userblock)


def _opened_by_hdf5(path: Path) -> h5py.File | None:
    """A file that HDF5 reads itself, as it has very many small headers; None where it cannot.

    It does not where this process has the file open to be written.
    """
    with contextlib.suppress(OSError):
        return h5py.File(path, "r", locking=False)
    return None


def attribute(group: h5py.h5g.GroupID, name: str) -> Any:
    """Return an attribute of a group; None if there is none."""
    return h5py.Group(group).attrs[name] if h5py.h5a.exists(group, _bytes(name)) else None


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
        self._made: dict[str, h5py.Group] = {"": file}
        self._placed: list[tuple[h5py.h5d.DatasetID, Tensor]] = []
        self._creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        self._creation.set_layout(h5py.h5d.CONTIGUOUS)
        self._creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        self._creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        self._creation.set_obj_track_times(False)

    def group(self, path: str) -> h5py.Group:
        """Return the group at that path, created if it is missing."""
        if path not in self._made:
            self._made[path] = self.file.require_group(path)
        return self._made[path]

    def dataset(self, path: str, tensor: Tensor) -> None:
        """Create a dataset for a tensor's elements, which are written later.

        bfloat16, which HDF5 lacks, is stored as two opaque bytes with an attribute, as in Keras.
        """
        parent, _, name = path.rpartition("/")
        group = self.group(parent)
        is_opaque = dtype_name(tensor.dtype) == "bfloat16"
        stored = np.dtype("V2") if is_opaque else tensor.dtype
        space = (
            h5py.h5s.create_simple(tensor.shape)
            if tensor.shape
            else h5py.h5s.create(h5py.h5s.SCALAR)
        )
        kind = h5py.h5t.py_create(stored, logical=True)
        identifier = h5py.h5d.create(group.id, name.encode(), kind, space, self._creation)
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
        if not (is_numpy_dtype(d := weight.tensor.dtype) or dtype_name(d) == "bfloat16")
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
