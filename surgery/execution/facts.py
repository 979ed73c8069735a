"""A manifest's facts of files and models: sizes, times and digests."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from surgery.execution.seen import Facts, place, relative, stat_facts
from surgery.formats.base import Format, open_model
from surgery.storage import locations
from surgery.storage.descriptors import Descriptor, pread
from surgery.storage.states import files_in
from surgery.weights.digest import HashingTensor, sha256
from surgery.weights.model import Model
from surgery.weights.sources import Source
from surgery.weights.tensor import FileTensor, Tensor, dtype_name

_BLOCK = 1 << 20


def input_facts(model: Model, source: Source, folder: Path) -> Facts:
    """Return the facts of a model that was read: its files, and digests of the weights read.

    If the file's weights are not stored as the model has them, whole files are hashed.
    """
    facts: Facts = {
        "origin": model.origin,
        "path": relative(model.inputs[0], folder) if model.inputs else None,
        "files": file_facts(model.inputs, folder),
        "rest_sha256": None,
        "weights": [],
    }
    if not model.inputs:
        return facts
    if not model.format or source.is_made:
        return {**facts, "files": [_summed(file, folder) for file in facts["files"]]}
    whole = open_model(model.inputs[0]) if source.is_view else model
    names = {weight.stored: weight.address for weight in whole.weights}
    if locations.url_of(model.inputs[0]) is None:  # otherwise all of it would be downloaded
        facts["rest_sha256"] = rest_sha256(whole, model.inputs[0], _files(model.inputs))
    facts["weights"] = [
        {
            "address": names[weight.stored] if source.is_view else weight.address,
            "sha256": _sum(weight.tensor, facts["rest_sha256"] is not None),
        }
        for weight in model.weights
    ]
    return facts


def _sum(tensor: Tensor, is_here: bool) -> str | None:
    """Return a tensor's digest; None if it was not read.

    If it was read partly, the rest is read now, unless its file is behind a URL (not `is_here`).
    """
    if not isinstance(tensor, HashingTensor) or not tensor.is_read:
        return None
    return tensor.seen or (tensor.hexdigest() if is_here else None)


def tree_facts(path: Path, folder: Path, files: Iterable[Path]) -> Facts:
    """Return the facts of a file, or of `files` in a folder, with digests of whole files."""
    facts = [_summed(file, folder) for file in file_facts(files, folder)]
    return {"path": relative(path, folder), "files": facts}


def _summed(file: Facts, folder: Path) -> Facts:
    return {**file, "sha256": file_sha256(place(file["path"], folder))}


def output_facts(
    form: Format, written: Path, path: Path, model: Model, digests: Mapping[int, str], folder: Path
) -> Facts:
    """Return the facts of a target that will be at `path` and is now at `written`.

    If another program wrote it, its files are hashed, as its weights may have other names.
    """
    if form.is_foreign(model):
        return file_output(form.name, written, path, folder)
    return {
        "format": form.name,
        "path": relative(path, folder),
        "files": list(_written_facts(written, path, folder)),
        "rest_sha256": rest_sha256(form.open(written), written, files_in(written)),
        "weights": [
            {
                "address": weight.address,
                "shape": list(weight.tensor.shape),
                "dtype": dtype_name(weight.tensor.dtype),
                "sha256": digests.get(id(weight.tensor)) or sha256(weight.tensor),
            }
            for weight in model.weights
        ],
    }


def file_output(name: str, written: Path, path: Path, folder: Path) -> Facts:
    """Return the facts of an output with digests of whole files, without weights."""
    facts: Facts = {
        "format": name,
        "path": relative(path, folder),
        "files": list(_written_facts(written, path, folder)),
        "rest_sha256": None,
        "weights": [],
    }
    add_file_hashes(facts, written)
    return facts


def add_file_hashes(facts: Facts, written: Path) -> None:
    """Add the SHA-256 of every whole file of an output, before it is uploaded to a URL."""
    for entry, file in zip(facts["files"], files_in(written), strict=True):
        entry["sha256"] = _sha256_here(file)


def _files(paths: Iterable[Path]) -> list[Path]:
    """Return all files of the paths, without duplicates."""
    return list(dict.fromkeys(file for path in paths for file in files_in(path)))


def file_facts(paths: Iterable[Path], folder: Path) -> list[Facts]:
    """Return the path (relative to the manifest's folder), size and times of every file.

    Folders are searched recursively.
    """
    return [{"path": relative(file, folder), **stat_facts(file)} for file in _files(paths)]


def _written_facts(written: Path, path: Path, folder: Path) -> Iterator[Facts]:
    for file in files_in(written):
        yield {"path": relative(path / file.relative_to(written), folder), **stat_facts(file)}


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a whole file."""
    locations.download(path)
    return _sha256_here(path)


def _sha256_here(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def rest_sha256(model: Model, path: Path, files: Iterable[Path]) -> str:
    """Return the SHA-256 of all bytes of a model's files outside of its weights' elements."""
    held: dict[str, list[tuple[int, int]]] = {}
    absolute = cache(os.path.abspath)
    for weight in model.weights:
        tensor = weight.tensor.tensor if isinstance(weight.tensor, HashingTensor) else weight.tensor
        if isinstance(tensor, FileTensor):
            file, offset = tensor.file_range
            held.setdefault(absolute(file), []).append((offset, tensor.nbytes))
    digest = hashlib.sha256()
    for name, each in sorted((Path(os.path.relpath(file, path)), file) for file in files):
        digest.update(name.as_posix().encode() + b"\0")
        descriptor, done = Descriptor.open(each), 0
        places = sorted(held.get(os.path.abspath(each), ()))
        for offset, size in [*places, (each.stat().st_size, 0)]:
            while done < offset and (block := pread(descriptor, min(_BLOCK, offset - done), done)):
                digest.update(block)
                done += len(block)
            done = max(done, offset + size)
    return digest.hexdigest()
