"""How a dataclass declares the keys of a recipe's mapping: type, meaning, example, default.

Ops, sources and targets are such dataclasses. Their JSON Schema, validation, help and
reference all come from here.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import math
import os
import pkgutil
import re
import typing
from collections.abc import Mapping
from fractions import Fraction
from importlib import metadata
from pathlib import Path
from typing import Any

from surgery import remote

REQUIRED = dataclasses.MISSING


@dataclasses.dataclass(frozen=True)
class Share:
    """A share between 0 and 1, exactly as written: `29%` is 29/100, not its nearest float."""

    fraction: Fraction

    @classmethod
    def parse(cls, value: object) -> Share:
        """From `10%` or 0.1; raises ValueError for anything else."""
        text = str(value).strip()
        number = text.removesuffix("%").strip()
        if not re.fullmatch(r"[0-9]*\.?[0-9]+([eE][-+]?[0-9]{1,3})?|[0-9]+\.", number):
            raise ValueError(f"{value!r} is not a share; write 10% or 0.1")
        fraction = Fraction(number) / (100 if text.endswith("%") else 1)
        if fraction > 1:
            raise ValueError(f"{value!r} is more than the whole; a share is at most 100% or 1")
        return cls(fraction)

    def __str__(self) -> str:
        return f"{float(self.fraction * 100):g}%"


def key(
    description: str,
    example: object,
    default: Any = REQUIRED,
    in_example: bool = False,
    **schema: object,
) -> Any:
    """A key of the mapping; `schema` adds JSON Schema keywords such as `minimum`.

    The mapping's own example has all keys that are required, and those that are `in_example`.
    """
    metadata = {
        "description": description,
        "example": example,
        "schema": schema,
        "in_example": in_example or default is REQUIRED,
    }
    if default is REQUIRED:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def as_json(value: object) -> str:
    """JSON in ASCII, indented; null for a number that is none or infinite, which JSON has not."""
    try:
        text = json.dumps(value, indent=1, allow_nan=False)
    except (TypeError, ValueError):
        text = json.dumps(_finite(value), indent=1)
    return text.replace("\x7f", r"\u007f")  # the one control character that json leaves


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def recipe_path(value: str, folder: Path) -> Path:
    """A path in a recipe: `~` is the user's home, a relative one starts at `folder`.

    A URL becomes the path of its twin.
    """
    if "\0" in value:
        raise ValueError("a path has no NUL in it")
    if remote.url_in(value):
        return remote.local(value)
    path = folder / os.path.expanduser(value)
    short = Path(os.path.normpath(path))  # another place where a folder before `..` is a link
    return short if os.path.realpath(short) == os.path.realpath(path) else path


@functools.cache
def import_all(package: str) -> None:
    """Import every module of a package, so that dropping a file in registers it."""
    module = importlib.import_module(package)
    for info in pkgutil.iter_modules(module.__path__):
        importlib.import_module(f"{package}.{info.name}")


@functools.cache
def version(package: str) -> str:
    """The version of an installed package."""
    return metadata.version(package)


@functools.cache
def hints_of(declared: type) -> Mapping[str, Any]:
    """The types of a class's fields."""
    return typing.get_type_hints(declared)


def first_line(declared: type) -> str:
    """The first line of a class's docstring: what is shown in tables and help."""
    return (declared.__doc__ or "").strip().partition("\n")[0]


def keys_of(declared: type) -> Mapping[str, dataclasses.Field[Any]]:
    """The keys that a declared class takes, in order; `from_` is the key `from`."""
    fields = dataclasses.fields(declared)
    return {f.name.rstrip("_"): f for f in fields if "description" in f.metadata}
