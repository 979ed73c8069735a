"""A fast check that a recipe is up to date, without importing models, formats and ops."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from surgery.declared.fields import recipe_path
from surgery.errors import SurgeryError
from surgery.execution.seen import (
    ENDING,
    VERSION,
    Facts,
    entries,
    has_hashes,
    has_patterns,
    is_untouched,
    key,
    read,
    relative,
    stats_of,
)
from surgery.recipe.document import MOST_BYTES, parse, plain
from surgery.recipe.params import OWN, PER_SWEEP, Substitution, resolve
from surgery.storage import locations


def seen_as_current(recipe: Path, overrides: Mapping[str, str], hashes: bool) -> Path | None:
    """Return a recipe's manifest if it is up to date by the times of its files.

    None if it is not, or if more than the times is needed to tell. With `hashes`, the manifest must
    also have the digests of whole files.
    """
    try:
        resolved = _resolved(recipe, overrides)
        manifest = None if resolved is None else _manifest_of(recipe, resolved)
        if resolved is None or manifest is None:
            return None
        facts = read(manifest)
        start = relative(recipe.parent, manifest.parent)
        seed, with_keras = resolved.get("seed", 0), "keras" in facts["versions"]
        packages = facts.get("packages", {})
        is_same = facts["manifest"] == VERSION and not facts["runs_code"]
        if not is_same or facts["key"] != key(start, seed, resolved, with_keras, packages):
            return None
        return manifest if _is_untouched(facts, manifest.parent, hashes) else None
    except (SurgeryError, OSError, KeyError, TypeError, ValueError, AttributeError):
        return None  # the run reports the error


def _resolved(recipe: Path, overrides: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the recipe with all references replaced; None if it has a matrix or patterns.

    None, too, if it uses environment variables.
    """
    with recipe.open("rb") as file:
        document = parse(file.read(MOST_BYTES + 1), str(recipe))
    if document.duplicates or not document.value.keys().isdisjoint(("matrix", "env")):
        return None
    defaults = document.value.get("params") or {}
    given = resolve(defaults, overrides)
    filled = Substitution(document, {name: given[name] for name in overrides}, {})
    for name, default in defaults.items():
        if name not in overrides:
            filled.define(name, default)
    parts = {name: value for name, value in document.value.items()
             if name not in PER_SWEEP and not name.startswith(OWN)}  # fmt: skip
    value: dict[str, Any] = plain(filled.value(parts))
    return None if filled.problems or has_patterns(value) else value


def _manifest_of(recipe: Path, resolved: Mapping[str, Any]) -> Path | None:
    """Return the manifest's path; None for a URL, or if a killed run left unfinished files."""
    ((_, target),) = resolved["export"][0].items()
    path = recipe_path(target if isinstance(target, str) else target["path"], recipe.parent)
    name = resolved.get("name") or recipe.name.removesuffix(".yaml")
    if locations.url_of(path) is not None or _is_littered(path.parent):
        return None
    return path.parent / f"{name}{ENDING}"


def _is_littered(folder: Path) -> bool:
    return any(folder.glob(".*.surgery-*"))


def _is_untouched(facts: Facts, folder: Path, hashes: bool) -> bool:
    files = [file for each in entries(facts) for file in each["files"]]
    if any("version" in file for file in files):  # the run checks URLs
        return False
    if hashes and not has_hashes(facts):
        return False
    if any(_is_littered((folder / each["path"]).parent) for each in facts["outputs"]):
        return False
    stats = stats_of(facts, folder)
    return all(is_untouched(each, stats, facts["seen_ns"], folder) for each in entries(facts))
