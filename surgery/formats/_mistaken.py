"""Advice for paths that are not models: what they are, and what to do instead.

It is used only if no format recognises a path.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from surgery.errors import nearest
from surgery.weights.naming import natural_key

_HEAD = 4096
_MOST_NAMED = 3
_LARGEST_JSON = 64 << 20

_BEGINNINGS: Mapping[bytes, str] = {
    b"version https://git-lfs": "is a Git LFS pointer, not the file itself; type git lfs pull",
    b"<!doctype html": "is a web page (HTML), not the file itself; download the file itself",
    b"<html": "is a web page (HTML), not the file itself; download the file itself",
    b"<?xml": "is an XML document, perhaps a server's error; download the file itself",
    b"\x1f\x8b": "is compressed with gzip; type gunzip, or tar xzf for a .tar.gz",
    b"BZh": "is compressed with bzip2; type bunzip2 first",
    b"\xfd7zXZ": "is compressed with xz; type unxz first",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd; type unzstd first",
    b"7z\xbc\xaf": "is a 7-Zip archive; unpack it, and name the model in it",
    b"Rar!": "is a RAR archive; unpack it, and name the model in it",
    b"\x93NUMPY": "is one NumPy array, not a model; np.savez makes an .npz of several",
    b"GGUF": "is a GGUF file, which is not read; convert it to safetensors",
    b"\x80\x02": "is a Python pickle, which can run code; load it in Python, and save .npz",
    b"\x80\x03": "is a Python pickle, which can run code; load it in Python, and save .npz",
    b"\x80\x04": "is a Python pickle, which can run code; load it in Python, and save .npz",
    b"\x80\x05": "is a Python pickle, which can run code; load it in Python, and save .npz",
    b"model_checkpoint_path:": "lists the checkpoints of its folder; name the folder",
    b"node {": "is a graph in text form; write it as binary .pb (as_text=False)",
    b"saved_model_schema_version:": "is a SavedModel in text form; save it as saved_model.pb",
    bytes(16): "begins with zeros, like an incomplete download; download it again",
}
"""Advice by the first bytes of a file, in lower case or unchanged."""

_ENDINGS: Mapping[str, str] = {
    r"\.(part|crdownload|incomplete|download|aria2)": "is an unfinished download; finish it",
    r"\.meta": "is the graph of a checkpoint, whose .index is missing; copy it too",
    r"\.pbtxt": "is a graph in text form; write it as binary .pb (as_text=False)",
    r"\.safetensors": "is truncated, or not a safetensors file; download or copy it again",
    r"\.(keras|npz)": "does not match its suffix, or is truncated; download or copy it again",
    r"\.(h5|hdf5)": "is not an HDF5 file, or its beginning is missing; download or copy it again",
    r"\.py": "is Python code; save the model it builds, or write load: {build: module:function}",
}
"""Advice by the end of a file's name."""


def mistaken(path: Path, suffixes: Sequence[str]) -> str | None:
    """Return what a path is that no format recognises, and what to do; None if unknown.

    `suffixes` are the suffixes of model files.
    """
    if path.is_dir():
        return _folder(path, suffixes)
    with path.open("rb") as file:
        head = file.read(_HEAD)
    by_content: Sequence[Callable[[], str | None]] = (
        lambda: _archive(path, suffixes) if head.startswith(b"PK\x03\x04") else None,
        lambda: _json(path) if head.lstrip()[:1] in (b"{", b"[") else None,
        lambda: _recipe(path, head),
        lambda: _beginning(head),
        lambda: _ending(path),
    )
    return next(filter(None, (look() for look in by_content)), None)


def missing(path: Path) -> str:
    """Return the message for a path that does not exist, with near names."""
    try:
        names = [file.name for file in path.parent.iterdir()]
    except OSError:
        return "no such file or folder"
    numbered = re.compile(re.escape(path.name) + r"-\d+(?=\.index$)")
    found = sorted({match[0] for name in names if (match := numbered.match(name))}, key=natural_key)
    if found:
        return f"no such checkpoint; name one with its number: {_some(found[::-1])}"
    stems = {Path(name).stem: name for name in names}
    close = nearest(path.stem, stems)
    return "no such file or folder" + (f" (did you mean {stems[close[0]]!r}?)" if close else "")


def _beginning(head: bytes) -> str | None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for beginning, what in _BEGINNINGS.items():
        if head.startswith(beginning) or text[: len(beginning)].lower() == beginning:
            return what
    return None


def _ending(path: Path) -> str | None:
    found = (what for end, what in _ENDINGS.items() if re.fullmatch(f".*{end}", path.name.lower()))
    return next(found, None)


def _archive(path: Path, suffixes: Sequence[str]) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, ValueError):
        return None
    if any(name.endswith("data.pkl") for name in names):
        return "is a PyTorch file; save its state_dict with safetensors.torch.save_file"
    models = [name for name in names if _is_model(name, suffixes)]
    return f"is a zip archive; unpack it, and name the model: {_some(models)}" if models else None


def _json(path: Path) -> str | None:
    if path.stat().st_size > _LARGEST_JSON:
        return None
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    if isinstance(found, list):
        return "is the index of a folder of .npy; name the folder" if _is_index(found) else None
    if "modelTopology" in found:
        return "is a TensorFlow.js model, which is not read; tensorflowjs_converter converts it"
    if "class_name" in found and "config" in found:
        return (
            f"is a Keras config without weights; write load: {{config: {path.name}, weights: ...}}"
        )
    return None


def _is_index(entries: Sequence[object]) -> bool:
    return all(isinstance(entry, Mapping) and "address" in entry for entry in entries)


def _recipe(path: Path, head: bytes) -> str | None:
    if not re.search(rb"^surgery:\s*\d", head, re.MULTILINE):
        return None
    return f"is a recipe, not a model; surgery plan {path} shows what it does"


def _folder(path: Path, suffixes: Sequence[str]) -> str | None:
    names = sorted((file.name for file in path.iterdir()), key=natural_key)
    if not names:
        return "is an empty folder"
    models = [name for name in names if _is_model(name, suffixes) or _is_saved_model(path / name)]
    if models:
        count = "a model" if len(models) == 1 else f"{len(models)} models"
        return f"is a folder with {count} in it; name one: {_some([f'{path}/{n}' for n in models])}"
    if any(name.endswith(".npy") for name in names):
        return "is a folder of .npy without its index.json; np.savez makes an .npz of the arrays"
    return None


def _is_model(name: str, suffixes: Sequence[str]) -> bool:
    return name.endswith((*suffixes, "saved_model.pb", ".index"))


def _is_saved_model(folder: Path) -> bool:
    return (folder / "saved_model.pb").is_file() or (folder / "checkpoint").is_file()


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
