"""Safe YAML reading by the YAML 1.2 core schema, with the position of every value."""

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
    """Plain values, with the (line, column) of each value and key, counted from 1."""

    value: Any
    values: Mapping[Place, tuple[int, int]]
    keys: Mapping[Place, tuple[int, int]]
    duplicates: tuple[Problem, ...] = ()

    def problem(self, place: Place, message: str, at_key: bool = False) -> Problem:
        """Make a problem at a value, or with `at_key` at its key."""
        positions = self.keys if at_key else self.values
        known = place
        while known not in positions and known:
            known, positions = known[:-1], self.values
        return Problem(*positions.get(known, (1, 1)), where=dotted(place), message=message)


def dotted(place: Place) -> str:
    """Return a place as text: `steps[2].scale.select`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")


class Whole(int):
    """An integer that was not written as Python would write it, as `010`."""

    text: str

    def __str__(self) -> str:
        return self.text


class Real(float):
    """A float that was not written as Python would write it, as `1e-3`."""

    text: str

    def __str__(self) -> str:
        return self.text


def plain(value: Any) -> Any:
    """Return the value with plain numbers in place of `Whole` and `Real`."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, Whole | Real):
        return int(value) if isinstance(value, Whole) else float(value)
    return value


def scalar(text: str) -> Any:
    """Return the value of an unquoted scalar by the YAML 1.2 core schema.

    A number keeps its text, for use in paths: `str(scalar("010"))` is "010".
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
    """Parse a YAML document; raises RecipeError if it is malformed, unsafe or too large."""
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
        message += f" (it begins in line {begun.line + 1})"
    if re.search(r"[*!&%@`]|\{[^}]*(\.\.|,[^:}]*\})", line):
        message += '; quote a value with * ! & or {1..3} in it: "block{1..3}_*"'
    return Problem(mark.line + 1, mark.column + 1, "", message)


_WINDOWS = re.compile("[A-Za-z]:[\x00-\x1f\x7f-\xa0\u2028\u2029]")
"""The result of a Windows path in double quotes, `"C:\\temp"`, by YAML's escapes."""

_BACKSLASH = r"a \ in double quotes begins an escape; write the path in single quotes, or with /"
_NO_MAPPING = "<< takes a mapping, or a list of mappings: <<: *defaults"


def _joined(text: str) -> str:
    """Return the text with surrogate pairs, JSON's escapes, as one character each.

    A lone surrogate is kept: it is a byte of a file name that is not UTF-8.
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
        """Count a value, as aliases may expand endlessly; raises RecipeError above the limits."""
        at = (node.start_mark.line + 1, node.start_mark.column + 1)
        self.count += 1
        if self.count > _MOST_VALUES or max(len(place), depth) > _MOST_DEPTH:
            message = (
                f"more than {_MOST_VALUES:,} values, including aliases (*name), or too deep; a "
                "matrix may take its values from a file"
            )
            raise RecipeError(self.file, [Problem(*at, dotted(place), message)])

    def pairs(
        self, node: yaml.MappingNode, place: Place, depth: int = 0
    ) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        """Yield a mapping's (key, value) nodes, first those merged by `<<` and not overridden.

        Raises RecipeError if `<<` merges something other than mappings.
        """
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
                message = f"the key {key!r} occurs twice; the first is in line {first}"
                self.duplicates.append(Problem(*at, dotted(inner), message))
                continue
            self.keys[inner] = at
            result[key] = self.value(value_node, inner)
        return result
