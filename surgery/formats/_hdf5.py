"""HDF5 without copying: datasets' bytes are read and written in place, by offset."""

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
from surgery.formats._files import Window
from surgery.weights.model import Model
from surgery.weights.tensor import (
    Array,
    Computed,
    Descriptor,
    Extent,
    Reduction,
    Stored,
    Tensor,
    dtype_named,
    is_numpy_s,
)

ATTRIBUTE_LIMIT = 64512
"""Bytes; HDF5 keeps an attribute in the object's header, so longer ones are split or left out."""

MAGIC = b"\x89HDF\r\n\x1a\n"
_MOST_UNSTORED, _MOST_UNPACKED = 64 << 20, 1100
"""Bytes that a dataset may have beyond its stored ones, and how far those may unpack."""
_LARGEST_CHUNK = 1 << 26
"""Elements of a chunk, which HDF5 unpacks whole."""
_MOST_ROWS = 1 << 22
"""Elements that are read at once from a dataset whose bytes do not lie in one piece."""


class _Padded(Window):
    """A window as HDF5's own driver has it: zeros from its end on."""

    def readinto(self, buffer: Any) -> int:
        """Read at the position; never less than is asked for."""
        view = memoryview(buffer)
        count = super().readinto(view)
        view[count:] = bytes(len(view) - count)
        self.position += len(view) - count
        return len(view)


class Reader:
    """An HDF5 file, or a part of a file that is one, opened to be read lazily."""

    def __init__(
        self,
        path: Path,
        part: tuple[Descriptor, int, int] | None = None,
        seen: Callable[[int, memoryview], None] | None = None,
    ) -> None:
        """`part` is a descriptor to read by, the first byte and the size."""
        self.path = path
        self._seen = seen
        self._is_needed = False
        try:
            self.descriptor, self.base, size = part or (Descriptor.open(path), 0, None)
            whole = os.fstat(self.descriptor).st_size
            self._end = whole if size is None else self.base + size
            self.file = h5py.File(_Padded(self.descriptor, self.base, size), "r")
        except OSError as error:
            raise FormatError(f"{path} {_said(error)}") from None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the file, unless h5py must read elements that do not lie in one piece."""
        if not self._is_needed:
            self.file.close()

    def groups(self, root: h5py.Group) -> Iterator[tuple[str, h5py.Group]]:
        """Every group below `root`, and `root` itself, by path; links out are refused."""
        stack = [("", root)]
        known = set()
        while stack:
            path, group = stack.pop()
            address = h5py.h5o.get_info(group.id).addr
            if address in known:
                raise FormatError(f"{self.path}: {group.name} is a group that stands there twice")
            known.add(address)
            yield path, group
            inner = []
            for name in group:
                if self.link_is_hard(group, name) and group.get(name, getclass=True) is h5py.Group:
                    inner.append((f"{path}/{name}" if path else name, group[name]))
            stack.extend(reversed(inner))

    def holds_variables(self) -> bool:
        """Whether it keeps variables as Keras 3 does: by number, in groups called `vars`."""
        return any(
            path.rpartition("/")[2] == "vars" and all(name.isdigit() for name in group)
            for path, group in self.groups(self.file)
        )

    def link_is_hard(self, group: h5py.Group, name: str) -> bool:
        """True for what stands in this file itself; raises FormatError for other links."""
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise FormatError(
                f"{self.path}: {group.name}/{name} is a {type(link).__name__}; "
                "links out of a model file are not followed"
            )
        return True

    def tensor(self, group: h5py.Group, name: str) -> Tensor:
        """The dataset of that name (or path) as a lazy tensor."""
        parent, _, last = name.rpartition("/")
        for part in parent.split("/") if parent else []:
            group = self._member(group, part, h5py.Group)
        return self._tensor(self._member(group, last, h5py.Dataset))

    def _member(self, group: h5py.Group, name: str, kind: type) -> Any:
        if name not in group:
            raise FormatError(f"{self.path} has no {group.name}/{name}, though it says so")
        self.link_is_hard(group, name)
        if group.get(name, getclass=True) is not kind:
            raise FormatError(f"{self.path}: {group.name}/{name} is not a {kind.__name__.lower()}")
        return group[name]

    def _tensor(self, dataset: h5py.Dataset) -> Tensor:
        plist = dataset.id.get_create_plist()
        layout = plist.get_layout()
        if plist.get_external_count() or layout == h5py.h5d.VIRTUAL:
            raise FormatError(
                f"{self.path}: {dataset.name} keeps its values in other files, which are not read"
            )
        for number in range(plist.get_nfilters()):
            if not h5py.h5z.filter_avail(plist.get_filter(number)[0]):
                raise FormatError(
                    f"{self.path}: {dataset.name} is packed by a filter that is not installed "
                    f"({plist.get_filter(number)[3].decode(errors='replace') or 'unknown'})"
                )
        dtype, shape = _dtype(dataset), dataset.shape
        if shape is None or dtype.hasobject:
            raise FormatError(f"{self.path}: {dataset.name} is not an array of numbers")
        size = math.prod(shape) * dtype.itemsize
        if layout != h5py.h5d.CONTIGUOUS or dataset.id.get_offset() is None:
            if size > _MOST_UNSTORED + _MOST_UNPACKED * dataset.id.get_storage_size():
                raise FormatError(
                    f"{self.path}: {dataset.name} claims {size:,} bytes, and "
                    f"{dataset.id.get_storage_size():,} are stored"
                )
            if layout == h5py.h5d.CHUNKED and math.prod(plist.get_chunk()) > _LARGEST_CHUNK:
                raise FormatError(f"{self.path}: {dataset.name} is stored in chunks of absurd size")
        little = dtype.newbyteorder("<") if dtype.kind in "iufc" else dtype
        offset = dataset.id.get_offset() if layout == h5py.h5d.CONTIGUOUS else None
        if offset is None or self.file.userblock_size or self._is_beyond(offset, dataset):
            self._is_needed = True
            elements = _element_reader(dataset, little)
            whole = Reduction(lambda _: self._check_chunks(dataset, layout), 0)

            def read(start: int, stop: int) -> Array:
                try:
                    whole.result()
                    return elements(start, stop)
                except (OSError, RuntimeError, ValueError, zlib.error) as error:
                    raise FormatError(
                        f"{self.path}: {dataset.name} cannot be read: {error}"
                    ) from error

            return Computed(shape, little, read)
        extent = Extent(self.path, self.base + offset)
        stored = Stored(shape, dtype, extent, self.descriptor, self._seen)
        if dtype == little:
            return stored
        return Computed(shape, little, lambda start, stop: stored.read(start, stop).astype(little))

    def _check_chunks(self, dataset: h5py.Dataset, layout: int) -> None:
        if layout == h5py.h5d.CHUNKED:
            check_chunks(dataset, self.descriptor, self.base + self.file.userblock_size)

    def _is_beyond(self, offset: int, dataset: h5py.Dataset) -> bool:
        end = self.base + offset + dataset.id.get_storage_size()
        if end > self._end:
            raise FormatError(f"{self.path} is cut short: {dataset.name} would end at byte {end}")
        return False


def _said(error: OSError) -> str:
    """What is wrong with a file that does not open."""
    if found := re.search(r"truncated file: eof = (\d+).* stored_eof = (\d+)", str(error)):
        there, wanted = (f"{int(number):,}" for number in found.groups())
        return f"is truncated: it has {there} bytes of {wanted}; download or copy it again"
    return f"is not a readable HDF5 file: {error}"


def _dtype(dataset: h5py.Dataset) -> np.dtype[Any]:
    """The dtype; Keras keeps bfloat16 as two opaque bytes."""
    dtype: np.dtype[Any] = dataset.dtype
    if dtype.kind == "V" and dtype.itemsize == 2 and not dtype.names:
        return dtype_named("bfloat16")
    return dtype


def _element_reader(dataset: h5py.Dataset, dtype: np.dtype[Any]) -> Callable[[int, int], Array]:
    """Reads flat ranges of a compressed, chunked or never-written dataset."""
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
    """Lays out an HDF5 file: everything but the elements, whose places are then known."""

    def __init__(self, file: h5py.File) -> None:
        self.file = file
        self._placed: list[tuple[h5py.h5d.DatasetID, Tensor]] = []

    def group(self, path: str) -> h5py.Group:
        """The group of that path, made where it is missing."""
        return self.file.require_group(path) if path else self.file

    def dataset(self, path: str, tensor: Tensor, **attributes: str) -> None:
        """A place for a tensor's elements, which are written later."""
        parent, _, name = path.rpartition("/")
        group = self.group(parent)
        stored = np.dtype("V2") if tensor.dtype.name == "bfloat16" else tensor.dtype
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
        for key, value in attributes.items():
            h5py.Dataset(identifier).attrs[key] = value
        self._placed.append((identifier, tensor))

    def places(self) -> list[tuple[int, Tensor]]:
        """Where each tensor's bytes belong, from the file's start; empty ones left out."""
        placed = [(identifier.get_offset(), tensor) for identifier, tensor in self._placed]
        return [(offset, tensor) for offset, tensor in placed if offset is not None]


def unheld(model: Model) -> list[str]:
    """The first weight of a dtype that HDF5 has no form for, where there is one."""
    return [
        f"{weight.address} is {weight.tensor.dtype.name}, which HDF5 files do not hold"
        for weight in model.weights
        if not is_numpy_s(weight.tensor.dtype) and weight.tensor.dtype.name != "bfloat16"
    ][:1]


def lay_out(
    descriptor: int, base: int, build: Callable[[Writer], None]
) -> list[tuple[int, Tensor]]:
    """Write the skeleton of an HDF5 file at `base`; returns the absolute places of its tensors.

    The same calls give the same bytes: no times are tracked and no space is reused.
    """
    with h5py.File(_Padded(descriptor, base), "w", libver="earliest") as file:
        writer = Writer(file)
        build(writer)
        places = writer.places()
    return [(base + offset, tensor) for offset, tensor in places]
