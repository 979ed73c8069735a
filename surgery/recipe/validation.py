"""Violations of the JSON Schema in plain words: where, what, and what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from surgery.declared.fields import REFERENCE, missing
from surgery.errors import Problem, did_you_mean
from surgery.recipe.document import Document, Place

_KINDS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "nothing",
    "number": "a number",
    "object": "a mapping",
    "string": "text",
}

_GONE = {("key", "upgrade"): " (it is now config: upgrade, the default of keras, or config: keep)"}
"""Removed keys, with a hint on their replacement."""


_OF_LAYERS = {
    r"(add|put|new)(_?layers?)?": "insert (between layers) or append (behind an output)",
    r"(drop|pop|skip)(_?layers?)?|delete_?layers?": (
        "remove (layers), extract (a part of the model) or delete (weights only)"
    ),
    r"(cut|truncate|crop|head_?off|backbone|features?)(_?(layers?|model|at))?": "extract",
    r"(add_?|new_?|change_?)?(head|top|classifier)": "replace_head",
    r"(change|swap|exchange)_?layers?": "replace",
    r"(change_?|set_?)?(resize|input|input_?shape|input_?size)": "resize_input",
    r"ensemble|combine|concatenate": "join",
    r"pipeline|sequential": "chain",
    r"(fuse|merge)_?(bn|batch_?norm\w*)": "fold_batchnorm",
    r"(prune|shrink|slim|thin|narrow)(_?(channels?|filters?|units?|layers?))?": (
        "remove_channels (a smaller model) or zero (zeros in a model of the same size)"
    ),
    r"(remove|delete|drop|cut)_?(filters?|units?|neurons?)": "remove_channels",
    r"(merge|fuse)_?lora": "lora_merge",
    r"inline|unnest": "flatten",
}
"""Names that people give to structural ops, as patterns, and what to write."""


def schema_problems(schema: Mapping[str, Any], value: Any, document: Document) -> list[Problem]:
    """Return all violations of the schema, at their places in the document."""
    validator = Draft202012Validator(schema)
    return [
        problem for error in validator.iter_errors(value) for problem in _problems(error, document)
    ]


def _problems(error: ValidationError, document: Document) -> Iterator[Problem]:
    place: Place = tuple(error.absolute_path)
    schema: Mapping[str, Any] = error.schema if isinstance(error.schema, Mapping) else {}
    if error.validator == "additionalProperties" and isinstance(error.instance, Mapping):
        allowed = list(schema.get("properties", {}))
        for name in error.instance:
            if name not in allowed:
                hint = _hint(_kind(place), name, allowed)
                message = f"unknown {_kind(place)} {name!r}{hint}; allowed: {', '.join(allowed)}"
                yield document.problem((*place, name), message, at_key=True)
        return
    if error.validator == "required" and isinstance(error.instance, Mapping):
        for name in schema["required"]:
            if name not in error.instance:
                meaning = schema["properties"].get(name, {})
                message = missing(name, meaning.get("examples", ["..."])[0])
                yield document.problem(place, message, at_key=bool(place))
        return
    if error.validator == "propertyNames":
        return  # reported by its inner errors
    if "propertyNames" in error.absolute_schema_path:
        message = f"{error.instance!r} is not a name for a parameter; use letters, digits and _"
        yield document.problem((*place, str(error.instance)), message, at_key=True)
        return
    yield document.problem(place, _MESSAGES.get(str(error.validator), _other)(error, schema))


def _hint(kind: str, name: str, allowed: Sequence[str]) -> str:
    if kind == "op":
        for pattern, instead in _OF_LAYERS.items():
            if re.fullmatch(pattern, name):
                return f" (write {instead})"
    return _GONE.get((kind, name)) or did_you_mean(name, allowed)


def _kind(place: Place) -> str:
    if len(place) == 2 and place[0] == "steps":
        return "op"
    return "format" if len(place) == 2 and place[0] == "export" else "key"


def _wanted(schema: Mapping[str, Any]) -> str:
    kinds = schema.get("type", "object")
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    if schema.get("pattern") == REFERENCE:
        kinds = [kind for kind in kinds if kind != "string"]
    kinds = [kind for kind in kinds if kind != "null"] or kinds
    return " or ".join(_KINDS[kind] for kind in kinds)


def shown(value: Any) -> str:
    """Return a value as short text for messages."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."


def _type(error: ValidationError, schema: Mapping[str, Any]) -> str:
    example = schema.get("examples")
    hint = f"; for example {shown(example[0])}" if example else ""
    if error.instance is None:
        return f"expected {_wanted(schema)}, but there is no value{hint}"
    return f"expected {_wanted(schema)}, not {shown(error.instance)}{hint}"


def _enum(error: ValidationError, schema: Mapping[str, Any]) -> str:
    allowed = [str(value) for value in schema["enum"] if value is not None]
    hint = did_you_mean(str(error.instance), allowed)
    return f"{shown(error.instance)} is not allowed{hint}; allowed: {', '.join(allowed)}"


def _pattern(error: ValidationError, schema: Mapping[str, Any]) -> str:
    if schema.get("pattern") == REFERENCE:
        return _type(error, schema)
    example = shown(schema["examples"][0])
    return f"{shown(error.instance)} does not have the required form; for example {example}"


def _other(error: ValidationError, schema: Mapping[str, Any]) -> str:
    return str(error.message)


_MESSAGES: Mapping[str, Callable[[ValidationError, Mapping[str, Any]], str]] = {
    "type": _type,
    "enum": _enum,
    "pattern": _pattern,
    "const": lambda error, schema: (
        f"this surgery reads version {schema['const']} of the recipe language, "
        f"not {shown(error.instance)}"
    ),
    "minimum": lambda error, schema: f"{shown(error.instance)} is less than {schema['minimum']}",
    "maximum": lambda error, schema: f"{shown(error.instance)} is more than {schema['maximum']}",
    "minItems": lambda error, schema: "the list is empty; give at least one",
    "minLength": lambda error, schema: "the text is empty",
}
