"""The recipes that come with surgery, and their data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from surgery.errors import UsageError, did_you_mean
from surgery.recipe.definitions import schema_text

_SCHEMA = Path("schemas/recipe.schema.json")
_RECIPES = Path("recipes")


def _folder() -> Path:
    """Return the folder of the samples: installed, or beside the package in a working tree."""
    package = Path(__file__).parents[1]
    installed = package / "samples"
    return installed if installed.is_dir() else package.parent / "recipes"


def is_sample(name: str) -> bool:
    """Return whether a recipe of that name comes with surgery."""
    return (_folder() / f"{name}.yaml").is_file()


def samples() -> Mapping[str, str]:
    """Return {name: what the recipe does}."""
    files = sorted(_folder().glob("*.yaml"))
    return {file.stem: _first_comment(file.read_text(encoding="utf-8")) for file in files}


def _first_comment(text: str) -> str:
    """Return the first comment that is not for a program."""
    comments = (line[2:] for line in text.splitlines() if line.startswith("# "))
    return next(line for line in comments if not line.startswith("yaml-language-server"))


def copy_samples(names: tuple[str, ...]) -> list[Path]:
    """Copy recipes with their data and the schema to the current folder.

    Returns the paths that were written. Raises UsageError, before writing anything, for an unknown
    name or if another file is in the way.
    """
    known = samples()
    for name in names:
        if name not in known:
            raise UsageError(
                f"there is no recipe {name!r}{did_you_mean(name, known)}; there are "
                f"{', '.join(known)}"
            )
    files = {path: data for name in names for path, data in _files(name).items()}
    new = {path: data for path, data in files.items() if not _is_there(path, data)}
    for path, data in new.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return list(new)


def _files(name: str) -> dict[Path, bytes]:
    """Return {relative path: contents} of a recipe and its data."""
    text = (_folder() / f"{name}.yaml").read_text(encoding="utf-8")
    data = [each for each in re.findall(r"data/[\w.-]+\w", text) if (_folder() / each).is_file()]
    data += ["data/README.md"] if data else []  # states the data's origin
    schema = schema_text()
    return {
        _RECIPES / f"{name}.yaml": text.encode(),
        **{_RECIPES / each: (_folder() / each).read_bytes() for each in data},
        _SCHEMA: schema.encode(),
    }


def _is_there(path: Path, data: bytes) -> bool:
    """Return whether a file was copied before; raises UsageError if it is a different one."""
    if not path.exists():
        return False
    if path == _SCHEMA or (path.is_file() and path.read_bytes() == data):
        return True
    raise UsageError(f"{path} exists already with other contents; move it away")
