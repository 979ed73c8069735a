"""The manifest of a run: what it read, did and wrote, so that it can be proved later."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surgery import remote
from surgery.declaration import as_json, recipe_path, version
from surgery.errors import FormatError, SurgeryError
from surgery.formats._base import Format, open_model
from surgery.keras_bridge.code import CodeName, code_names
from surgery.recipe.language import Recipe
from surgery.recipe.sources import FromApplication
from surgery.run.files import beside, tidy
from surgery.weights.digest import Watched, sha256
from surgery.weights.filestate import files_in
from surgery.weights.model import Model
from surgery.weights.tensor import Descriptor, Stored, Tensor, pread

VERSION = 1
_BLOCK = 1 << 20

Facts = dict[str, Any]


def path_of(recipe: Recipe) -> Path:
    """Where a recipe's manifest is kept: beside its first output."""
    return recipe.home / f"{recipe.name}.run.json"


def key_of(recipe: Recipe) -> str:
    """What a run's outputs depend on, besides the inputs' contents, as one hash."""
    start = _relative(Path(recipe.file).parent, path_of(recipe).parent)
    facts = [VERSION, version("surgery"), start, recipe.seed, recipe.resolved]
    if any(isinstance(source, FromApplication) for source in recipe.sources()):
        facts.append(version("keras"))
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def code_files(recipe: Recipe) -> list[Path]:
    """The files beside the recipe with code that it names."""
    return [name.file for name in _code(recipe) if name.file.is_file()]


def runs_code(recipe: Recipe) -> bool:
    """Whether it names code of the user's."""
    return bool(_code(recipe))


def is_remote(recipe: Recipe) -> bool:
    """Whether it writes to URLs."""
    return any(remote.url_of(target.path) is not None for target in recipe.export)


def _code(recipe: Recipe) -> list[CodeName]:
    parts = [*recipe.sources(), *(step.op for step in recipe.steps)]
    return [name for part in parts for name in code_names(part)]


def head(recipe: Recipe) -> Facts:
    """What a manifest says of the recipe and of what ran it."""
    return {
        "manifest": VERSION,
        "key": key_of(recipe),
        "name": recipe.name,
        "recipe": recipe.resolved,
        "file": recipe.file,
        "params": dict(recipe.params),
        "seed": recipe.seed,
        "versions": {
            "surgery": version("surgery"),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "h5py": version("h5py"),
        },
    }


def input_facts(model: Model, folder: Path) -> Facts:
    """A model that was read: its files, and the sums of those weights that were read whole.

    A file whose weights were joined to an application has other names for them; it is summed
    as a whole.
    """
    if model.inputs and not model.format:
        files = file_facts(model.inputs, folder)
        for file in files:
            file["sha256"] = _file_sha256(_place(file["path"], folder))
        path = _relative(model.inputs[0], folder)
        return {"origin": model.origin, "path": path, "files": files, "rest_sha256": None,
                "weights": []}  # fmt: skip
    return {
        "origin": model.origin,
        "path": _relative(model.inputs[0], folder) if model.inputs else None,
        "files": file_facts(model.inputs, folder),
        "rest_sha256": None if _is_elsewhere(model) else rest_sha256(model, model.inputs[0]),
        "weights": [
            {"address": weight.address, "sha256": _seen(weight.tensor)} for weight in model.weights
        ],
    }


def _is_elsewhere(model: Model) -> bool:
    """Whether it comes from no file, or from a remote one, which is not read whole for a sum."""
    return not model.inputs or remote.url_of(model.inputs[0]) is not None


def _seen(tensor: Tensor) -> str | None:
    return tensor.seen if isinstance(tensor, Watched) else None


def output_facts(
    form: Format, written: Path, path: Path, model: Model, sums: Mapping[int, str], folder: Path
) -> Facts:
    """A target as it was written (perhaps still under another name) and as it is to be found.

    One that another program wrote has other names for the weights; its files are summed.
    """
    foreign = form.is_foreign(model)
    facts: Facts = {
        "format": form.name,
        "path": _relative(path, folder),
        "files": [
            {**facts, "path": _relative(path / facts["path"], folder)}
            for facts in _stat_facts(written)
        ],
        "rest_sha256": None if foreign else rest_sha256(form.open(written), written),
        "weights": []
        if foreign
        else [
            {
                "address": weight.address,
                "shape": list(weight.tensor.shape),
                "dtype": weight.tensor.dtype.name,
                "sha256": sums.get(id(weight.tensor)) or sha256(weight.tensor),
            }
            for weight in model.weights
        ],
    }
    if foreign:
        add_file_hashes(facts, written)
    return facts


def file_output(name: str, written: Path, path: Path, folder: Path) -> Facts:
    """A file that a step wrote beside the targets, which is summed as a whole."""
    file = {**_stat(written), "path": _relative(path, folder)}
    facts: Facts = {
        "format": name,
        "path": _relative(path, folder),
        "files": [file],
        "rest_sha256": None,
        "weights": [],
    }
    add_file_hashes(facts, written)
    return facts


def add_file_hashes(facts: Facts, written: Path) -> None:
    """Add the SHA-256 of every whole file of an output."""
    for entry, file in zip(facts["files"], files_in(written), strict=True):
        entry["sha256"] = _file_sha256(file)


def _relative(path: Path, folder: Path) -> str:
    if url := remote.url_of(path):
        return url
    if remote.url_of(folder):
        return path.absolute().as_posix()
    return Path(os.path.relpath(path.absolute(), folder.absolute())).as_posix()


def file_facts(paths: Iterable[Path], folder: Path) -> list[Facts]:
    """The size and time of every file; folders are what is in them."""
    files = dict.fromkeys(file for path in paths for file in files_in(path))
    return [{"path": _relative(file, folder), **_stat(file)} for file in files]


def _stat_facts(written: Path) -> Iterator[Facts]:
    for file in files_in(written):
        yield {"path": file.relative_to(written).as_posix(), **_stat(file)}


def _stat(file: Path) -> Facts:
    found = file.stat()
    if (version := remote.state(file)) is not None:
        return {"bytes": found.st_size, "version": version}
    return {"bytes": found.st_size, "mtime_ns": found.st_mtime_ns}


def _file_sha256(path: Path) -> str:
    remote.fetch(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def rest_sha256(model: Model, path: Path) -> str:
    """The SHA-256 of all bytes of a model's files that are not elements of its weights."""
    held: dict[Path, list[tuple[int, int]]] = {}
    for weight in model.weights:
        tensor = weight.tensor.tensor if isinstance(weight.tensor, Watched) else weight.tensor
        if isinstance(tensor, Stored):
            held.setdefault(tensor.extent.path, []).append((tensor.extent.offset, tensor.nbytes))
    digest = hashlib.sha256()
    for name in files_in(path):
        digest.update(name.relative_to(path).as_posix().encode() + b"\0")
        file, done = Descriptor.open(name), 0
        for offset, size in [*sorted(held.get(name, ())), (name.stat().st_size, 0)]:
            while block := pread(file, min(_BLOCK, max(0, offset - done)), done):
                digest.update(block)
                done += len(block)
            done = max(done, offset + size)
    return digest.hexdigest()


def read(path: Path) -> Facts:
    """A manifest; raises FormatError where the file is none."""
    path = remote.local(path)
    remote.fetch(path)
    try:
        facts = json.loads(path.read_bytes())
    except IsADirectoryError:
        raise FormatError(f"{path} is a folder; give the manifests in it, *.run.json") from None
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is no manifest, which is NAME.run.json: {error}") from None
    if not isinstance(facts, dict) or "manifest" not in facts or "outputs" not in facts:
        raise FormatError(f"{path} is not the manifest of a run (NAME.run.json)")
    if facts["manifest"] != VERSION:
        raise FormatError(
            f"{path} is of version {facts['manifest']!r} of the manifest, and this surgery reads "
            f"version {VERSION}"
        )
    return facts


@dataclass(frozen=True)
class Finding:
    """One thing that verify looked at; `problem` is empty where it is what the run saw."""

    path: Path
    weights: int
    problem: str = ""


def verify(path: Path, threads: int) -> Iterator[Finding]:
    """Compare what stands on disk with what a run saw; raises FormatError for no manifest."""
    facts, folder = read(path), remote.local(path).parent
    try:
        with ThreadPoolExecutor(threads) as pool:
            for output in facts["outputs"]:
                yield from _verified(_place(output["path"], folder), output, folder, pool)
            for given in facts["inputs"]:
                if given["path"] is not None and _place(given["path"], folder).exists():
                    yield from _verified(_place(given["path"], folder), given, folder, pool)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise FormatError(f"{path} is damaged: {error!r}") from error


def _verified(
    path: Path, facts: Facts, folder: Path, pool: ThreadPoolExecutor
) -> Iterator[Finding]:
    summed = [weight for weight in facts["weights"] if weight["sha256"]]
    problems = list(_problems(path, facts, summed, folder, pool))
    if not problems:
        yield Finding(path, len(summed))
    for problem in problems:
        yield Finding(path, len(summed), problem)


def _problems(
    path: Path, facts: Facts, summed: Sequence[Facts], folder: Path, pool: ThreadPoolExecutor
) -> Iterator[str]:
    """Everything by which a model differs from what a manifest says of it."""
    for file in facts["files"]:
        if not _place(file["path"], folder).is_file():
            yield f"{file['path']} is missing"
            return
        size = _place(file["path"], folder).stat().st_size
        if size != file["bytes"]:
            yield f"{file['path']} has {size} bytes, not {file['bytes']}"
    if foreign := _foreign(facts, folder):
        yield f"{foreign[0]} was not there"
        return
    if not facts["weights"] and facts["rest_sha256"] is None:
        yield from _differing(facts, folder)
        return
    try:
        model = open_model(path)
    except SurgeryError as error:
        yield f"it cannot be read: {error}"
        return
    there = model.by_address
    known = [weight for weight in summed if weight["address"] in there]
    found = pool.map(lambda weight: sha256(there[weight["address"]].tensor), known)
    differing = [w["address"] for w, sum_ in zip(known, found, strict=True) if sum_ != w["sha256"]]
    for address in differing:
        yield f"{address} differs"
    for weight in summed:
        if weight["address"] not in there:
            yield f"{weight['address']} is missing"
    if facts["rest_sha256"] and rest_sha256(model, path) != facts["rest_sha256"]:
        yield "what is not a weight differs (config, names, optimizer state)"
    if not differing:
        yield from _differing(facts, folder)


def _differing(facts: Facts, folder: Path) -> Iterator[str]:
    """The files that are not what their own sums say, where they have some."""
    for file in facts["files"]:
        if "sha256" in file and _file_sha256(_place(file["path"], folder)) != file["sha256"]:
            yield f"{file['path']} differs"


def is_current(recipe: Recipe, threads: int, hashes: bool = False) -> bool:
    """Whether a recipe's manifest still holds: the same recipe, inputs and outputs.

    With `hashes` it must have those of whole files, too.

    Sizes and times are looked at first; a file with another time is summed again.
    """
    path = path_of(recipe)
    if runs_code(recipe) or is_remote(recipe):
        return False  # nobody knows what code depends on, or who writes to a bucket
    try:
        for written in (path, *(target.path for target in recipe.export)):
            tidy(written)
        facts = read(path)
        if facts["key"] != key_of(recipe):
            return False
        models = [*facts["inputs"], *facts["outputs"]]
        moved = [model for model in models if not _untouched(model["files"], path.parent)]
        if not _untouched(facts["files"], path.parent):
            return False
        if any(_foreign(output, path.parent) for output in facts["outputs"]):
            return False
        if hashes and not all("sha256" in f for o in facts["outputs"] for f in o["files"]):
            return False
        if any(not weight["sha256"] for model in moved for weight in model["weights"]):
            return False
        if moved and any(finding.problem for finding in verify(path, threads)):
            return False
        if moved:
            _note_times(path, facts)
        return True
    except (SurgeryError, OSError, KeyError, TypeError, ValueError):
        return False


def _note_times(path: Path, facts: Facts) -> None:
    """Keep the times of files that have been found to be the same, for the next look."""
    for file in (
        file for model in (*facts["inputs"], *facts["outputs"]) for file in model["files"]
    ):
        file.update(_stat(_place(file["path"], path.parent)))
    new = beside(path)
    new.write_text(as_text(facts), encoding="utf-8")
    os.replace(new, path)


def as_text(facts: Facts) -> str:
    """A manifest as it is written."""
    return remote.named(as_json(facts)) + "\n"


def _foreign(facts: Facts, folder: Path) -> list[str]:
    """The files in a model's folder that were not there when the manifest was written."""
    known = {_place(file["path"], folder).resolve() for file in facts["files"]}
    files = files_in(_place(facts["path"], folder))
    found = (file for file in files if file.resolve() not in known)
    return [_relative(file, folder) for file in found]


def _untouched(files: Sequence[Facts], folder: Path) -> bool:
    return all(
        _stat(_place(file["path"], folder)) == {k: v for k, v in file.items() if k in _STATE}
        for file in files
    )


_STATE = ("bytes", "mtime_ns", "version")


def _place(text: str, folder: Path) -> Path:
    """Where a file of a manifest is."""
    path = recipe_path(text, folder)
    remote.prepare(path)
    return path
