"""Paths in a recipe that match several files: `epoch_*.keras`, `epoch_{1..3}.keras`."""

from __future__ import annotations

import re
from glob import glob
from pathlib import Path

from surgery.declared.fields import recipe_path
from surgery.storage import locations
from surgery.weights.selectors import expand_braces

_WILD = ("*", "?")
_PART_OF_CHECKPOINT = r"\.(index|meta|data-\d+-of-\d+)$"


def is_pattern(text: str, folder: Path) -> bool:
    """Return whether a path is a pattern: not a URL, and not the name of an existing file."""
    if locations.url_in(text) or not any(letter in text for letter in (*_WILD, "{")):
        return False
    return not recipe_path(text, folder).exists()


def matching_files(pattern: str, folder: Path, without: Path | None = None) -> list[str]:
    """Return the files that match a pattern, sorted by the numbers in their names.

    The files of one checkpoint count as one; the loaded one is left out. Raises ValueError if none
    matches.
    """
    found: list[str] = []
    for option in expand_braces(pattern):
        wild = any(letter in option for letter in _WILD)
        found += _matches(option, folder, without) if wild else [option]
    return list(dict.fromkeys(found))


def _matches(pattern: str, folder: Path, without: Path | None) -> list[str]:
    literal = str(recipe_path(pattern, Path())).replace("[", "[[]")
    found = glob(literal, root_dir=folder, recursive=True)
    if not found:
        raise ValueError(f"{pattern} matches no file")
    files = {re.sub(_PART_OF_CHECKPOINT, "", file) for file in found}
    loaded = None if without is None else without.resolve()
    kept = [file for file in files if (folder / file).resolve() != loaded]
    if not kept:
        raise ValueError(f"{pattern} matches no file except the loaded one")
    return sorted(kept, key=_by_number)


def _by_number(name: str) -> list[tuple[str, int]]:
    """Return a sort key by text, and by numbers where the text is equal."""
    return [(text, int(part or 0)) for text, part in re.findall(r"(\D*)(\d*)", name)]
