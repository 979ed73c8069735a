"""`hdf5`: one dataset per address, in plain HDF5 that people and other programs read and write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from surgery.architecture import Architecture
from surgery.errors import FormatError
from surgery.formats import _hdf5, _outputs
from surgery.formats.base import Format, Output, odd_names, register
from surgery.storage import disk
from surgery.weights.matching import names as some
from surgery.weights.model import Carried, Model
from surgery.weights.weight import Weight

_MARK = "surgery-hdf5"


@register
@dataclass(frozen=True, kw_only=True)
class Hdf5(Format):
    """Plain HDF5 with one dataset a weight, at its address."""

    name = "hdf5"
    suffix = ".hdf5"

    def sniff(self, path: Path, head: bytes) -> bool:
        if not head.startswith(_hdf5.MAGIC):
            return False
        with _hdf5.Reader(path) as reader:
            return _is_marked(reader) or not reader.holds_variables()

    def open(self, path: Path, architecture: Architecture | None = None) -> Model:
        with _hdf5.Reader(path) as reader:
            names = [str(name) for name in reader.file.attrs.get("addresses", ())]
            is_marked = _is_marked(reader)
            found = names if is_marked and names else sorted(_datasets(reader))
            kept = found if is_marked else [n for n in found if _is_of_numbers(reader, n)]
            odd = sorted({*found} - {*kept})
            weights = tuple(_weight(reader, name) for name in kept)
        if not weights:
            raise FormatError(f"{path} is an HDF5 file without a dataset of numbers")
        if len({weight.address for weight in weights}) < len(weights):
            raise FormatError(f"{path} has a weight twice")
        return Model(
            weights=weights,
            architecture=architecture,
            carried=Carried(),
            format="hdf5",
            origin=str(path),
            inputs=(path,),
            notes=(f"datasets that are not numeric arrays are left out: {some(odd)}",)
            if odd
            else (),
        )

    def problems(self, model: Model) -> Sequence[str]:
        addresses = {weight.address for weight in model.weights}
        inside = sorted(a for a in addresses if not addresses.isdisjoint(_owners(a)))
        return [
            *odd_names(model),
            *_hdf5.unheld(model),
            *(
                f"{address} is below another weight's address; rename it, or write npz"
                for address in inside[:1]
            ),
        ]

    def create(self, model: Model, path: Path) -> Output:
        descriptor = disk.create(path)
        places = _hdf5.lay_out(descriptor, 0, lambda h5: _write(h5, model))
        return _outputs.output(descriptor, places)


def _is_marked(reader: _hdf5.Reader) -> bool:
    """Return whether surgery wrote the file."""
    return bool(reader.file.attrs.get("format") == _MARK)


def _is_of_numbers(reader: _hdf5.Reader, name: str) -> bool:
    dtype = reader.file[name].dtype
    return dtype.kind in "biufc" or dtype.str == "|V2"


def _owners(address: str) -> Iterator[str]:
    while "/" in address:
        address = address.rpartition("/")[0]
        yield address


def _datasets(reader: _hdf5.Reader) -> Iterator[str]:
    for path, _, members in reader.groups():
        for name, dataset in members.items():
            if dataset is not None:
                yield f"{path}/{name}" if path else name


def _weight(reader: _hdf5.Reader, name: str) -> Weight:
    (tensor,) = reader.tensors(reader.file.id, [name])
    trainable = reader.file[name].attrs.get("trainable")
    is_flag = isinstance(trainable, np.bool_)
    return Weight(name, tensor, (name,), trainable=bool(trainable) if is_flag else None)


def _write(writer: _hdf5.Writer, model: Model) -> None:
    writer.file.attrs["format"] = _MARK
    names = "".join(weight.address for weight in model.weights).encode()
    if len(names) + 8 * len(model.weights) < _hdf5.ATTRIBUTE_LIMIT:
        writer.file.attrs["addresses"] = [weight.address for weight in model.weights]
    for weight in model.weights:
        writer.dataset(weight.address, weight.tensor)
        if weight.trainable is not None:
            writer.file[weight.address].attrs["trainable"] = weight.trainable
