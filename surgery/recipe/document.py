"""YAML read safely, as people mean it (the YAML 1.2 core rules), with every value's position."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from surgery.errors import Problem, RecipeError

Place = tuple[str | int, ...]
"""The keys and indices from the root of the document to a value."""

MOST_BYTES = 1 << 20
_MOST_DEPTH = 40
_MOST_VALUES = 10_000
_MOST_DIGITS = 300

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = {".inf": math.inf, "+.inf": math.inf, "-.inf": -math.inf, ".nan": math.nan}


@dataclass(frozen=True)
class Document:
    """Plain values, and the line and column (from 1) of each value and of each key."""

    value: Any
    values: Mapping[Place, tuple[int, int]]
    keys: Mapping[Place, tuple[int, int]]
    duplicates: tuple[Problem, ...] = ()

    def problem(self, place: Place, message: str, at_key: bool = False) -> Problem:
        """A problem at a value (or at its key)."""
        positions = self.keys if at_key else self.values
        known = place
        while known not in positions and known:
            known, positions = known[:-1], self.values
        return Problem(*positions.get(known, (1, 1)), where=dotted(place), message=message)


def dotted(place: Place) -> str:
    """`steps[2].scale.select`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")


def scalar(text: str) -> Any:
    """The value of a plain (unquoted) scalar by the YAML 1.2 core schema."""
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if len(text) <= _MOST_DIGITS:
        if _INT.fullmatch(text):
            return int(text)
        if _BASED.fullmatch(text):
            return int(text, 0)
        if _FLOAT.fullmatch(text):
            return float(text)
    return _SPECIAL.get(text.lower(), text)


def parse(data: bytes, file: str) -> Document:
    """The document in `data`; raises RecipeError for what is not one harmless YAML document."""
    if len(data) > MOST_BYTES:
        raise RecipeError(file, [Problem(1, 1, "", f"is larger than {MOST_BYTES >> 20} MiB")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise RecipeError(file, [Problem(line, 1, "", "is not UTF-8 text")]) from None
    try:
        _check_events(text, file)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise RecipeError(file, [_yaml_problem(error, text)]) from None
    except RecursionError:
        raise RecipeError(file, [Problem(1, 1, "", "is nested too deeply")]) from None
    builder = _Builder(file)
    return Document(
        builder.value(node, ()), builder.values, builder.keys, tuple(builder.duplicates)
    )


def _check_events(text: str, file: str) -> None:
    depth = documents = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        mark = event.start_mark
        at = (mark.line + 1, mark.column + 1, "") if mark else (1, 1, "")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
        if documents > 1:
            raise RecipeError(
                file, [Problem(*at, "a recipe is one document; split the file at ---")]
            )
        if depth > _MOST_DEPTH:
            raise RecipeError(file, [Problem(*at, "is nested too deeply")])
        if getattr(event, "tag", None):
            message = 'YAML tags are not allowed; if this is text, quote it: "!..."'
            raise RecipeError(file, [Problem(*at, message)])


def _yaml_problem(error: yaml.YAMLError, text: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    what = getattr(error, "problem", None) or str(error).partition("\n")[0]
    if mark is None:
        return Problem(1, 1, "", f"is not YAML: {what}")
    line = text.splitlines()[mark.line] if mark.line < len(text.splitlines()) else ""
    message = f"is not YAML: {what}"
    begun = getattr(error, "context_mark", None)
    if begun is not None and begun.line != mark.line:
        message += f" (what is left open begins in line {begun.line + 1})"
    if re.search(r"[*!&%@`]|\{[^}]*(\.\.|,[^:}]*\})", line):
        message += '; quote a value with * ! & or {1..3} in it: "block{1..3}_*"'
    return Problem(mark.line + 1, mark.column + 1, "", message)


@dataclass
class _Builder:
    file: str
    values: dict[Place, tuple[int, int]] = field(default_factory=dict)
    keys: dict[Place, tuple[int, int]] = field(default_factory=dict)
    duplicates: list[Problem] = field(default_factory=list)
    count: int = 0

    def value(self, node: yaml.Node | None, place: Place) -> Any:
        if node is None:
            raise RecipeError(self.file, [Problem(1, 1, "", "is empty")])
        at = (node.start_mark.line + 1, node.start_mark.column + 1)
        self.values[place] = at
        self.count += 1
        if self.count > _MOST_VALUES or len(place) > _MOST_DEPTH:
            message = (
                f"more than {_MOST_VALUES:,} values, aliases (*name) written out, or too deep; a "
                "matrix may take its values from a file"
            )
            raise RecipeError(self.file, [Problem(*at, dotted(place), message)])
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*place, i)) for i, item in enumerate(node.value)]
        text = str(node.value)
        is_plain = isinstance(node, yaml.ScalarNode) and node.style is None
        return scalar(text) if is_plain else text

    def mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
            at = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            inner = (*place, key)
            if key in result:
                first = self.keys[inner][0]
                message = f"the key {key!r} stands here twice; the first is in line {first}"
                self.duplicates.append(Problem(*at, dotted(inner), message))
                continue
            self.keys[inner] = at
            result[key] = self.value(value_node, inner)
        return result
