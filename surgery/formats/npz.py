"""`npz`: NumPy's archive of arrays, uncompressed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from surgery.architecture import Architecture
from surgery.errors import FormatError
from surgery.formats import _outputs
from surgery.formats.base import Format, Output, odd_names, register
from surgery.storage import disk, zipfiles
from surgery.storage.descriptors import Descriptor
from surgery.weights.model import Carried, Model
from surgery.weights.npyfile import npy_at, npy_header, viewed
from surgery.weights.tensor import Tensor, dtype_named, is_numpy_dtype
from surgery.weights.weight import Weight


@register
@dataclass(frozen=True, kw_only=True)
class Npz(Format):
    """NumPy's archive, with one array a weight, named by its address."""

    name = "npz"
    suffix = ".npz"

    def sniff(self, path: Path, head: bytes) -> bool:
        if not head.startswith((zipfiles.MAGIC, zipfiles.EMPTY)):
            return False
        return all(name.endswith(".npy") for name in zipfiles.Archive(path).members)

    def open(self, path: Path, architecture: Architecture | None = None) -> Model:
        archive = zipfiles.Archive(path)
        if not archive.members:
            raise FormatError(f"{path} is an archive without arrays")
        places = {name: archive.place(name) for name in archive.members}
        checks = {name: archive.check(name, place) for name, place in places.items()}
        return Model(
            weights=tuple(_weight(path, name, places[name], checks[name]) for name in places),
            architecture=architecture,
            carried=Carried(),
            format="npz",
            origin=str(path),
            inputs=(path,),
            checks=tuple(check for check in checks.values() if check),
        )

    def problems(self, model: Model) -> Sequence[str]:
        unknown = [
            weight
            for weight in model.weights
            if not is_numpy_dtype(weight.tensor.dtype) and weight.tensor.dtype.name != "bfloat16"
        ]
        return odd_names(model) + [
            f"{weight.address} is {weight.tensor.dtype.name}, which a .npy file cannot identify"
            for weight in unknown[:1]
        ]

    def create(self, model: Model, path: Path) -> Output:
        descriptor = disk.create(path)
        tensors = {f"{weight.address}.npy": weight.tensor for weight in model.weights}
        headers = {name: npy_header(tensor) for name, tensor in tensors.items()}
        sizes = {name: len(headers[name]) + tensor.nbytes for name, tensor in tensors.items()}
        writer = zipfiles.ArchiveWriter(descriptor, {}, sizes)
        places: list[tuple[int, Tensor]] = []
        for name, start in writer.starts.items():
            disk.write_at(descriptor, headers[name], start)
            places.append((start + len(headers[name]), tensors[name]))
        return _outputs.output(descriptor, places, writer.seen, writer.finish)


def _weight(
    path: Path, name: str, place: tuple[Descriptor, int, int], check: zipfiles.ReadCheck | None
) -> Weight:
    address = name.removesuffix(".npy")
    if not address:
        raise FormatError(f"{path}: an array has no name")
    descriptor, start, size = place
    seen = check.seen if check else None
    tensor = npy_at(path, f"{path}: {name}", descriptor, start, size, descriptor, seen)
    if tensor.dtype.kind == "V":
        if tensor.dtype.itemsize != 2:
            raise FormatError(f"{path}: {name} holds raw bytes, not numbers")
        tensor = viewed(tensor, dtype_named("bfloat16"))  # the only dtype that is written so
    return Weight(address, tensor, (name,))
