"""Declaration of a recipe mapping's keys by a dataclass: type, meaning, example, default.

Ops, sources and targets are such dataclasses. Their JSON Schema, validation, help and
reference are derived from them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import re
import typing
from collections.abc import Iterable, Mapping
from fractions import Fraction
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol, Self

from surgery.storage import locations

REQUIRED = dataclasses.MISSING

REFERENCE = r"^\$\{[^}]+\}$"
"""The pattern of a reference to a parameter, `${name}`, in place of a number or boolean."""


class FieldType(Protocol):
    """A key's type: a class that reads, checks and describes its values.

    Schema and reference show a default by its attribute `value`, if that is a number or text,
    else by `str()`.
    """

    @classmethod
    def from_recipe(cls, value: Any, folder: Path) -> Self:
        """Make the value from a recipe in `folder`; raises ValueError if it is wrong.

        Raises TypeError for a value of a wrong type, which the schema check has already reported.
        """

    @classmethod
    def schema(cls) -> Mapping[str, object]:
        """Return the JSON Schema of its values, without description and examples."""


def field_type(hint: Any) -> type[FieldType] | None:
    """Return a type hint if it is a FieldType; else None."""
    return hint if hasattr(hint, "from_recipe") else None


@dataclasses.dataclass(frozen=True)
class Share:
    """A fraction between 0 and 1, exactly as written: `29%` is 29/100, not its nearest float."""

    fraction: Fraction

    @classmethod
    def from_recipe(cls, value: object, _folder: Path) -> Share:
        """Read a number or text; raises ValueError if it is not a share."""
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise TypeError
        return cls.parse(value)

    @classmethod
    def schema(cls) -> Mapping[str, object]:
        """Return its JSON Schema."""
        return {"type": ["number", "string"], "minimum": 0, "maximum": 1}

    @classmethod
    def parse(cls, value: object) -> Share:
        """Read `10%` or 0.1; raises ValueError for anything else."""
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


@dataclasses.dataclass(frozen=True)
class Number:
    """A number exactly as written: integers of any size stay integers, booleans stay booleans."""

    value: bool | int | float

    @classmethod
    def from_recipe(cls, value: object, _folder: Path) -> Number:
        """Read a number or boolean; raises ValueError if it is not finite."""
        if not isinstance(value, bool | int | float):
            raise TypeError
        finite_number(value)
        return cls(value)

    @classmethod
    def schema(cls) -> Mapping[str, object]:
        """Return its JSON Schema; a text must be a reference to a parameter."""
        return {"type": ["number", "boolean", "string"], "pattern": REFERENCE}

    def __str__(self) -> str:
        return f"{self.value:g}" if isinstance(self.value, float) else str(self.value).lower()


def finite_number(value: float) -> float:
    """Return the number as a float; raises ValueError if that is not finite."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{str(value)[:20]} is not a finite number")
    return number


def key(
    description: str,
    example: object,
    default: Any = REQUIRED,
    in_example: bool = False,
    **schema: object,
) -> Any:
    """Declare a key of the mapping; `schema` adds JSON Schema keywords such as `minimum`.

    The example of the whole mapping has all required keys, and those with `in_example`.
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
    """Return indented ASCII JSON, with one line for a mapping or list that holds no mapping.

    NaN and infinity, which JSON lacks, become null.
    """
    try:
        text = _indented(value, "\n")
    except (TypeError, ValueError):
        text = _indented(_finite(value), "\n")
    return text.replace("\x7f", r"\u007f")  # the one control character that json does not escape


def json_line(value: object) -> str:
    """Return JSON as `as_json` does, on one line."""
    try:
        text = _on_one_line(value)
    except (TypeError, ValueError):
        text = _on_one_line(_finite(value))
    return text.replace("\x7f", r"\u007f")


_on_one_line = json.JSONEncoder(allow_nan=False).encode  # the C encoder, which cannot indent


def _indented(value: Any, line: str) -> str:
    """Return JSON whose lines begin with `line`: a line break and an indentation."""
    inner = f"{line} "
    if isinstance(value, dict) and not _is_plain(value.values()):
        items = (f"{_on_one_line(str(k))}: {_indented(v, inner)}" for k, v in value.items())
        return f"{{{inner}{f',{inner}'.join(items)}{line}}}"
    if isinstance(value, list | tuple) and not _is_plain(value):
        items = (_indented(item, inner) for item in value)
        return f"[{inner}{f',{inner}'.join(items)}{line}]"
    return _on_one_line(value)


def _is_plain(items: Iterable[Any]) -> bool:
    """Return True if there is no mapping among the items, nor in nested lists."""
    for item in items:  # a manifest has a mapping for each of very many weights
        if isinstance(item, dict) or (isinstance(item, (list, tuple)) and not _is_plain(item)):
            return False
    return True


def _finite(value: Any) -> Any:
    """Return the value with plain dicts and lists, and None for NaN and infinity."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def recipe_path(value: str, folder: Path) -> Path:
    """Return the path that a recipe's text means, relative to `folder`; `~` is the user's home.

    A URL becomes the path of its twin. Raises ValueError if the path is malformed.
    """
    if "\0" in value:
        raise ValueError("a path cannot contain a NUL character")
    if locations.url_in(value):
        return locations.resolve(value)
    path = folder / os.path.expanduser(value)
    short = Path(os.path.normpath(path))  # differs if the folder before a `..` is a link
    return short if os.path.realpath(short) == os.path.realpath(path) else path


@functools.cache
def version(package: str) -> str:
    """Return the version of an installed package."""
    return metadata.version(package)


@functools.cache
def hints_of(declared: type) -> Mapping[str, Any]:
    """Return the type hints of a class's fields."""
    return typing.get_type_hints(declared)


def first_line(declared: type) -> str:
    """Return the first line of a class's docstring, shown in tables and help."""
    return (declared.__doc__ or "").strip().partition("\n")[0]


def keys_of(declared: type) -> Mapping[str, dataclasses.Field[Any]]:
    """Return the keys of a declared class, in order; the field `from_` is the key `from`."""
    fields = dataclasses.fields(declared)
    return {f.name.rstrip("_"): f for f in fields if "description" in f.metadata}


def required_of(declared: type) -> list[str]:
    """Return the keys of a declared class that have no default."""
    return [
        name
        for name, f in keys_of(declared).items()
        if f.default is REQUIRED and f.default_factory is REQUIRED
    ]


def missing(name: str, example: object) -> str:
    """Return the message for a missing key, with an example."""
    return f"the key {name!r} is missing; for example {name}: {json.dumps(example)}"
