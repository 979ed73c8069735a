"""The state of a run by its manifest and the times of its files, without opening a model.

It imports very little, so that a recipe that is up to date is recognised quickly.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from surgery.declared.fields import as_json, recipe_path, version
from surgery.errors import FormatError
from surgery.storage import locations
from surgery.storage.keras_home import keras_settings
from surgery.storage.states import files_in
from surgery.version import __version__

VERSION = 2

ENDING = ".run.json"
"""The suffix of manifests."""

_SETTLED_NS = 10**9
"""A younger file may have changed within the resolution of its timestamps."""

Facts = dict[str, Any]


def place(text: str, folder: Path) -> Path:
    """Return the path of a file in a manifest of that folder; a URL's twin is prepared."""
    path = recipe_path(text, folder)
    locations.prepare(path)
    return path


def relative(path: Path, folder: Path) -> str:
    """Return a path in the form of a manifest in that folder."""
    if url := locations.url_of(path):
        return url
    if locations.url_of(folder):
        return path.absolute().as_posix()
    return Path(os.path.relpath(path.absolute(), folder.absolute())).as_posix()


def key(
    start: str, seed: int, resolved: object, with_keras: bool, packages: Iterable[str] = ()
) -> str:
    """Return a hash of what outputs depend on besides the contents of files.

    `start` is the folder of the recipe's relative paths, `packages` those that provide its words.
    With `with_keras`, the versions of Keras and TensorFlow are included.
    """
    facts = [VERSION, __version__, start, seed, resolved]
    facts += [[name, installed(name)] for name in sorted(packages)]
    if with_keras:
        facts += [installed("keras"), installed("tensorflow"), keras_settings()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def has_patterns(resolved: Mapping[str, Any]) -> bool:
    """Return whether a step names donors by a pattern, which depends on the existing files."""
    steps = [keys for step in resolved.get("steps") or () for keys in step.values()]
    donors = [text for keys in steps if isinstance(keys, dict) for text in _texts(keys.get("from"))]
    return any(letter in text for text in donors for letter in "*?{")


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def installed(package: str) -> str:
    """Return the version of a package; empty if it is not installed."""
    try:
        return version(package)
    except metadata.PackageNotFoundError:
        return ""


def stat_facts(file: Path) -> Facts:
    """Return a file's size, times and inode, or a URL's version; raises OSError if it is gone."""
    found = file.stat()
    if (state := locations.version(file)) is not None:
        return {"bytes": found.st_size, "version": state}
    return {
        "bytes": found.st_size,
        "mtime_ns": found.st_mtime_ns,
        "ctime_ns": found.st_ctime_ns,
        "inode": found.st_ino,
    }


def read(path: Path) -> Facts:
    """Read a manifest; raises FormatError if it is malformed, or was modified."""
    path = locations.resolve(path)
    locations.download(path)
    try:
        data = path.read_bytes()
        facts = json.loads(data)
    except IsADirectoryError:
        raise FormatError(f"{path} is a folder; give the manifests in it, *{ENDING}") from None
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is not a manifest (NAME{ENDING}): {error}") from None
    if not isinstance(facts, dict) or "manifest" not in facts or "outputs" not in facts:
        raise FormatError(f"{path} is not the manifest of a run (NAME{ENDING})")
    if facts["manifest"] == 1:
        return _of_version_1(facts)
    if facts["manifest"] != VERSION:
        raise FormatError(
            f"{path} is of version {facts['manifest']!r} of the manifest, and this surgery reads "
            f"versions 1 to {VERSION}"
        )
    body, _, digest = data.rpartition(_DIGEST)
    if hashlib.sha256(body).hexdigest().encode() not in digest:
        raise FormatError(
            f"{path} was modified: its own digest differs, so nothing can be verified; run "
            "the recipe again"
        )
    return facts


def _of_version_1(facts: Facts) -> Facts:
    """Convert a manifest of version 1 to version 2, as far as possible; raises FormatError."""
    try:
        files = [{"path": file["path"], "files": [file]} for file in facts.get("files", ())]
        given = [{**each, "rest": [each["path"]]} for each in facts.get("inputs", ())]
    except TypeError as error:
        raise FormatError(f"it is damaged: {error!r}") from None
    return {**facts, "inputs": given, "files": files, "code": [], "callbacks": []}


_DIGEST = b',\n "digest": '


def as_text(facts: Facts) -> str:
    """Return the text of a manifest; its last line has the digest of all text before it."""
    body = locations.with_urls(as_json(facts)).removesuffix("\n}")
    digest = hashlib.sha256(body.encode()).hexdigest()
    return f'{body}{_DIGEST.decode()}"{digest}"\n}}\n'


def entries(facts: Facts) -> list[Facts]:
    """Return a manifest's facts of everything that the run read and wrote."""
    kinds = ("files", "code", "inputs", "callbacks", "outputs")
    return [each for kind in kinds for each in facts[kind] if each["path"] is not None]


def has_hashes(facts: Facts) -> bool:
    """Return whether a manifest has digests of its outputs' whole files."""
    return all("sha256" in file for each in facts["outputs"] for file in each["files"])


def stats_of(facts: Facts, folder: Path) -> Mapping[str, Facts]:
    """Return the current `stat_facts` of every file in a manifest; raises OSError."""
    files = [file["path"] for each in entries(facts) for file in each["files"]]
    return {path: stat_facts(place(path, folder)) for path in files}


def is_untouched(facts: Facts, stats: Mapping[str, Facts], noted_ns: int, folder: Path) -> bool:
    """Return whether the files are unchanged by size, times and inode since `noted_ns`."""
    return not foreign(facts, folder) and all(
        stats[file["path"]].items() <= file.items() and _is_settled(file, noted_ns)
        for file in facts["files"]
    )


def _is_settled(file: Facts, noted_ns: int) -> bool:
    return "version" in file or max(file["mtime_ns"], file["ctime_ns"]) + _SETTLED_NS < noted_ns


def foreign(facts: Facts, folder: Path) -> Sequence[str]:
    """Return the files in a folder that are not in the manifest."""
    known = {place(file["path"], folder) for file in facts["files"]}
    files = files_in(place(facts["path"], folder))
    return [relative(file, folder) for file in files if file not in known]
