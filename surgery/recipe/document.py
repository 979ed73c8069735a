"""YAML read safely, as people mean it (the YAML 1.2 core rules), with every value's position."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
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
        """Return a problem at a value (or at its key)."""
        positions = self.keys if at_key else self.values
        known = place
        while known not in positions and known:
            known, positions = known[:-1], self.values
        return Problem(*positions.get(known, (1, 1)), where=dotted(place), message=message)


def dotted(place: Place) -> str:
    """Return a place as messages have it: `steps[2].scale.select`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")


class Whole(int):
    """A whole number that was written in another way than Python would, such as `010`."""

    text: str

    def __str__(self) -> str:
        return self.text


class Real(float):
    """A number that was written in another way than Python would, such as `1e-3`."""

    text: str

    def __str__(self) -> str:
        return self.text


def plain(value: Any) -> Any:
    """Return the value without the text that its numbers were written in."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, Whole | Real):
        return int(value) if isinstance(value, Whole) else float(value)
    return value


def scalar(text: str) -> Any:
    """Return the value of a plain (unquoted) scalar by the YAML 1.2 core schema.

    A number keeps its text, which is what a path gets.
    """
    value = _scalar(text)
    if isinstance(value, bool) or not isinstance(value, int | float) or str(value) == text:
        return value
    kept = Whole(value) if isinstance(value, int) else Real(value)
    kept.text = text
    return kept


def _scalar(text: str) -> Any:
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
    """Read the document in `data`; raises RecipeError for what is not one harmless document."""
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
    if "escape" in what or "hexadecimal" in what:
        return Problem(mark.line + 1, mark.column + 1, "", f"{message}; {_BACKSLASH}")
    begun = getattr(error, "context_mark", None)
    if begun is not None and begun.line != mark.line:
        message += f" (what is left open begins in line {begun.line + 1})"
    if re.search(r"[*!&%@`]|\{[^}]*(\.\.|,[^:}]*\})", line):
        message += '; quote a value with * ! & or {1..3} in it: "block{1..3}_*"'
    return Problem(mark.line + 1, mark.column + 1, "", message)


_WINDOWS = re.compile("[A-Za-z]:[\x00-\x1f\x7f-\xa0\u2028\u2029]")
"""What becomes of `"C:\\temp"`, where the backslash and what follows it are one character."""

_BACKSLASH = r"a \ in double quotes begins an escape; write the path in single quotes, or with /"
_NO_MAPPING = "<< takes a mapping, or a list of mappings: <<: *defaults"


def _joined(text: str) -> str:
    """Return the text with each pair of surrogates as one character, as JSON escapes it.

    A lone one stays: it is a byte of a file's name that is not UTF-8.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def _is_merge(key: yaml.Node) -> bool:
    return isinstance(key, yaml.ScalarNode) and key.style is None and key.value == "<<"


def _merged(value: yaml.Node) -> list[yaml.Node]:
    return list(value.value) if isinstance(value, yaml.SequenceNode) else [value]


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
        self.counted(node, place)
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*place, i)) for i, item in enumerate(node.value)]
        text = _joined(str(node.value))
        style = node.style if isinstance(node, yaml.ScalarNode) else '"'
        if style == '"' and _WINDOWS.match(text):
            raise RecipeError(self.file, [Problem(*at, dotted(place), _BACKSLASH)])
        return text if style else scalar(text)

    def counted(self, node: yaml.Node, place: Place, depth: int = 0) -> None:
        """Count a value that is built; raises RecipeError where there are too many."""
        at = (node.start_mark.line + 1, node.start_mark.column + 1)
        self.count += 1
        if self.count > _MOST_VALUES or max(len(place), depth) > _MOST_DEPTH:
            message = (
                f"more than {_MOST_VALUES:,} values, aliases (*name) written out, or too deep; a "
                "matrix may take its values from a file"
            )
            raise RecipeError(self.file, [Problem(*at, dotted(place), message)])

    def pairs(
        self, node: yaml.MappingNode, place: Place, depth: int = 0
    ) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        """Yield the keys and values of a mapping, first those of `<<` that it has not itself."""
        own = [pair for pair in node.value if not _is_merge(pair[0])]
        known = {str(key.value) for key, _ in own}
        for key, value in node.value:
            for merged in _merged(value) if _is_merge(key) else ():
                self.counted(merged, place, depth)
                if not isinstance(merged, yaml.MappingNode):
                    at = (merged.start_mark.line + 1, merged.start_mark.column + 1)
                    raise RecipeError(self.file, [Problem(*at, dotted(place), _NO_MAPPING)])
                for pair in self.pairs(merged, place, depth + 1):
                    if str(pair[0].value) not in known:
                        known.add(str(pair[0].value))
                        yield pair
        yield from own

    def mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in self.pairs(node, place):
            key = _joined(str(key_node.value)) if isinstance(key_node, yaml.ScalarNode) else "?"
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
