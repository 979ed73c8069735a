"""`npy`: a folder with one `.npy` file a weight, and an index."""

from __future__ import annotations

import json
import urllib.parse
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from surgery.architecture import Architecture
from surgery.declared.fields import key
from surgery.errors import FormatError
from surgery.formats import _outputs
from surgery.formats.base import Format, Output, Sink, register
from surgery.storage import disk
from surgery.weights.model import Carried, Model
from surgery.weights.npyfile import npy_header, open_npy, viewed
from surgery.weights.table import weight_facts
from surgery.weights.tensor import Array, Tensor, dtype_named
from surgery.weights.weight import Weight

INDEX = "index.json"


@register
@dataclass(frozen=True, kw_only=True)
class Npy(Format):
    """A folder with one .npy file a weight, and an index of them."""

    name = "npy"
    suffix = "a folder of .npy"
    is_folder = True

    layout: Literal["weight", "layer"] = key(
        "Name files by address (dense/kernel.npy), or by index in the list that "
        "get_weights() of the top-level layer returns (dense/0.npy).",
        "layer",
        default="weight",
    )

    def sniff(self, path: Path, head: bytes) -> bool:
        return path.is_dir() and (path / INDEX).is_file()

    def owns(self, folder: Path) -> bool:
        try:
            entries = json.loads((folder / INDEX).read_bytes())
            named = {INDEX, *(entry["file"] for entry in entries)}
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return False
        found = (p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir())
        return {p.relative_to(folder).as_posix() for p in found} <= named

    def open(self, path: Path, architecture: Architecture | None = None) -> Model:
        text = disk.small(path / INDEX)
        try:
            entries = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{path / INDEX} is not readable JSON: {error}") from None
        if not isinstance(entries, list):
            raise FormatError(f"{path / INDEX} is not a list of weights")
        weights = tuple(_weight(path, entry) for entry in entries)
        if len({weight.address for weight in weights}) < len(weights):
            raise FormatError(f"{path / INDEX} has a weight twice")
        return Model(
            weights=weights,
            architecture=architecture,
            carried=Carried(),
            format="npy",
            origin=str(path),
            inputs=(path, *(path / weight.stored[0] for weight in weights)),
        )

    def problems(self, model: Model) -> Sequence[str]:
        return []

    def create(self, model: Model, path: Path) -> Output:
        path.mkdir()
        names = {weight.address: _file_name(weight.address) for weight in model.weights}
        if self.layout == "layer":
            names = _by_layer(model)
        sinks = [(w.tensor, _create_file(path / names[w.address], w.tensor)) for w in model.weights]
        index = [{**weight_facts(w), "file": names[w.address]} for w in model.weights]
        (path / INDEX).write_text(json.dumps(index, indent=1) + "\n")

        def finish() -> None:
            for file in (path, *path.rglob("*")):
                disk.sync(file)

        return Output(sinks, finish)


def _file_name(address: str) -> str:
    """Return a file path that is safe on any system; unusual characters are percent-encoded."""
    parts = [urllib.parse.quote(part, safe="-_.+=@,") for part in address.split("/")]
    safe = ["%2E" + part[1:] if part.startswith(".") else part or "%00" for part in parts]
    return "/".join(safe) + ".npy"


def _by_layer(model: Model) -> dict[str, str]:
    """Return {address: file} with files numbered inside each top-level layer."""
    tops: list[str] = []
    if model.architecture is not None and model.architecture.is_graph:
        tops = [layer.address for layer in model.architecture.root.children]
    counts: Counter[str] = Counter()
    names = {}
    for weight in model.weights:
        inside = (top for top in tops if weight.address.startswith(f"{top}/"))
        layer = next(inside, weight.address.partition("/")[0])
        names[weight.address] = _file_name(f"{layer}/{counts[layer]}")
        counts[layer] += 1
    return names


def _create_file(path: Path, tensor: Tensor) -> Sink:
    """Create a .npy file with its header; its sink opens it for each chunk, to save descriptors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = npy_header(tensor)
    with path.open("xb") as file:
        file.write(header)

    def write(start: int, values: Array) -> None:
        with path.open("r+b", buffering=0) as file:
            _outputs.sink_at(file.fileno(), len(header), tensor.dtype.itemsize)(start, values)

    return write


def _weight(folder: Path, entry: Any) -> Weight:
    index = folder / INDEX
    if not isinstance(entry, Mapping) or not all(
        isinstance(entry.get(key), str) for key in ("address", "file", "dtype")
    ):
        raise FormatError(f"{index}: an entry lacks its address, file or dtype")
    if not entry["address"]:
        raise FormatError(f"{index}: an entry has an empty address")
    file = folder / entry["file"]
    if not file.resolve().is_relative_to(folder.resolve()):
        raise FormatError(f"{index}: {entry['file']} lies outside the folder")
    tensor = open_npy(file)
    if list(tensor.shape) != entry.get("shape"):
        raise FormatError(f"{file} has the shape {list(tensor.shape)}, not {entry.get('shape')}")
    try:
        dtype = dtype_named(entry["dtype"])
    except (AttributeError, TypeError):
        raise FormatError(f"{index}: {entry['dtype']!r} is not a dtype") from None
    if dtype != tensor.dtype:
        if tensor.dtype.kind != "V" or dtype.itemsize != tensor.dtype.itemsize:
            raise FormatError(f"{file} holds {tensor.dtype.name}, not {dtype.name}")
        tensor = viewed(tensor, dtype)
    trainable = entry.get("trainable")
    return Weight(
        address=entry["address"],
        tensor=tensor,
        stored=(entry["file"],),
        trainable=trainable if isinstance(trainable, bool) else None,
    )
