"""Verification of a manifest: whether files are as the run left them, and a run is up to date."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from surgery.errors import FormatError, SurgeryError
from surgery.execution import journal
from surgery.execution.facts import file_sha256, rest_sha256
from surgery.execution.manifest import is_remote, key_of, path_of, runs_code
from surgery.execution.seen import (
    Facts,
    as_text,
    entries,
    foreign,
    has_hashes,
    is_untouched,
    place,
    read,
    stat_facts,
    stats_of,
)
from surgery.formats.base import open_model
from surgery.recipe.language import Recipe
from surgery.storage import locations
from surgery.storage.replacing import beside, lock, tidy
from surgery.storage.states import files_in
from surgery.weights.digest import sha256


@dataclass(frozen=True)
class Finding:
    """The result for one path that verify compared; `problem` is empty if it is unchanged."""

    path: Path
    weights: int
    files: int
    problem: str = ""


def verify(path: Path, threads: int) -> Iterator[Finding]:
    """Compare files on disk with a manifest; raises FormatError if it is not one.

    Renames left unfinished by a killed run are finished first.
    """
    folder = locations.resolve(path).parent
    if unfinished := journal.recover(folder):
        yield from (Finding(path, 0, 0, problem) for problem in unfinished)
        return
    facts = read(path)
    found: list[Finding] = []
    try:
        with ThreadPoolExecutor(threads) as pool:
            for written in (*facts["outputs"], *facts["callbacks"]):
                found += _verified(written, folder, pool)
            for given in (*facts["inputs"], *facts["files"], *facts["code"]):
                if given["path"] is not None and place(given["path"], folder).exists():
                    found += _verified(given, folder, pool)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise FormatError(f"{path} is damaged: {error!r}") from error
    yield from found
    if not any(finding.weights or finding.files or finding.problem for finding in found):
        yield Finding(path, 0, 0, "it has no digests, so nothing can be verified")


def _verified(facts: Facts, folder: Path, pool: ThreadPoolExecutor) -> list[Finding]:
    path = place(facts["path"], folder)
    weights, files = len(_summed(facts)), sum("sha256" in file for file in facts["files"])
    problems = list(_problems(path, facts, folder, pool))
    return [Finding(path, weights, files, problem) for problem in problems or ("",)]


def _summed(facts: Facts) -> list[Facts]:
    return [weight for weight in facts.get("weights", ()) if weight["sha256"]]


def _problems(path: Path, facts: Facts, folder: Path, pool: ThreadPoolExecutor) -> Iterator[str]:
    """Yield each way in which files differ from the manifest."""
    for file in facts["files"]:
        if not place(file["path"], folder).is_file():
            yield f"{file['path']} is missing"
            return
        size = place(file["path"], folder).stat().st_size
        if size != file["bytes"]:
            yield f"{file['path']} has {size} bytes, not {file['bytes']}"
    if strange := foreign(facts, folder):
        yield f"{strange[0]} is new: it is not in the manifest"
        return
    differing: list[str] = []
    if _summed(facts) or facts.get("rest_sha256"):
        try:
            differing = list(_differing_parts(path, facts, folder, pool))
        except SurgeryError as error:
            differing = [f"it cannot be read: {error}"]
        yield from differing
    if not differing:
        yield from _differing_files(facts, folder, pool)


def _differing_parts(
    path: Path, facts: Facts, folder: Path, pool: ThreadPoolExecutor
) -> Iterator[str]:
    """Yield the weights that differ or are missing, and whether the other bytes differ."""
    model = open_model(path)
    there = model.by_address
    known = [weight for weight in _summed(facts) if weight["address"] in there]
    found = pool.map(lambda weight: sha256(there[weight["address"]].tensor), known)
    for weight, sum_ in zip(known, found, strict=True):
        if sum_ != weight["sha256"]:
            yield f"{weight['address']} differs"
    for weight in _summed(facts):
        if weight["address"] not in there:
            yield f"{weight['address']} is missing"
    files = [file for name in _rest(facts) for file in files_in(place(name, folder))]
    if facts["rest_sha256"] and rest_sha256(model, path, files) != facts["rest_sha256"]:
        yield "bytes other than weights differ (config, names, optimizer state)"


def _rest(facts: Facts) -> list[str]:
    """Return the files that `rest_sha256` covers."""
    return facts.get("rest") or [file["path"] for file in facts["files"]]


def _differing_files(facts: Facts, folder: Path, pool: ThreadPoolExecutor) -> Iterator[str]:
    """Yield the files whose own digests differ, if the manifest has them."""
    files = [file for file in facts["files"] if "sha256" in file]
    found = pool.map(lambda file: file_sha256(place(file["path"], folder)), files)
    for file, sum_ in zip(files, found, strict=True):
        if sum_ != file["sha256"]:
            yield f"{file['path']} differs"


def is_current(
    recipe: Recipe, threads: int, hashes: bool = False, trusts_code: bool = False
) -> bool:
    """Return whether a recipe's manifest still holds: the same recipe, inputs and outputs.

    With `hashes`, the manifest must also have the digests of whole files. A recipe that runs the
    user's code is never current, unless `trusts_code` and the imported files are unchanged.
    """
    path = path_of(recipe)
    if is_remote(recipe) or (runs_code(recipe) and not trusts_code):
        return False  # others may write to a bucket at any time
    try:
        if journal.recover(path.parent):
            return False
        for written in (path, *(target.path for target in recipe.export)):
            tidy(written)
        before, seen_ns = stat_facts(path), time.time_ns()
        facts = read(path)
        if facts["manifest"] == 1 or facts["key"] != key_of(recipe):
            return False
        if hashes and not has_hashes(facts):
            return False
        folder, noted = path.parent, facts["seen_ns"]
        stats = stats_of(facts, folder)
        moved = [each for each in entries(facts) if not is_untouched(each, stats, noted, folder)]
        if not all(_is_same(each, folder, threads) for each in moved):
            return False
        if moved:
            _note(path, {**_restamped(facts, stats), "seen_ns": seen_ns}, before)
        return True
    except (SurgeryError, OSError, KeyError, TypeError, ValueError):
        return False


def _is_same(facts: Facts, folder: Path, threads: int) -> bool:
    """Return whether all digests are unchanged; weights without digests were not read."""
    if facts.get("rest_sha256") is None and any("sha256" not in file for file in facts["files"]):
        return False
    with ThreadPoolExecutor(threads) as pool:
        return next(_problems(place(facts["path"], folder), facts, folder, pool), None) is None


def _restamped(facts: Facts, stats: Mapping[str, Facts]) -> Facts:
    """Return the manifest with its files' current times."""
    for each in entries(facts):
        for file in each["files"]:
            file.update(stats[file["path"]])
    return facts


def _note(path: Path, facts: Facts, before: Facts) -> None:
    """Write the manifest with its files' new times, to save hashing them at the next check.

    Nothing is written if that is not permitted, or if another run has replaced the manifest.
    """
    del facts["digest"]
    with contextlib.suppress(OSError, SurgeryError), contextlib.ExitStack() as undo:
        lock(path, undo)
        if stat_facts(path) == before:
            new = beside(path)
            new.write_text(as_text(facts), encoding="utf-8")
            os.replace(new, path)
