"""The JSON Schema of the recipe language, generated from the declarations.

`words` are a recipe's words from other packages, whose ops, formats and so on are included.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from surgery.declared.data import DATA, Data
from surgery.declared.fields import (
    REFERENCE,
    field_type,
    first_line,
    hints_of,
    keys_of,
    required_of,
)
from surgery.declared.sources import SOURCES
from surgery.expectations.base import EXPECTATIONS
from surgery.expectations.combined import WORDS
from surgery.formats.base import FORMATS, Format
from surgery.ops.base import OPS
from surgery.recipe import matrix
from surgery.recipe.checks import NAME
from surgery.recipe.cluster import Cluster
from surgery.recipe.language import TOP, Target, step_name
from surgery.recipe.objective import Objective
from surgery.recipe.params import OWN
from surgery.weights.sources import Donor, Operand, OwnDonor, Source

DRAFT = "https://json-schema.org/draft/2020-12/schema"

Words = frozenset[str]

_SCALARS: Mapping[Any, str] = {float: "number", int: "integer", bool: "boolean"}


@functools.cache
def recipe_schema(words: Words = frozenset()) -> Mapping[str, Any]:
    """Return the whole schema, not split into `$defs`; raises PluginError."""
    steps = mapping_schemas(OPS.named(words), words)
    expectations = _expectations(words)
    check = {
        "description": "Expectations of the model at this point, instead of an op: of its weights, "
        "shapes and statistics. If one fails, nothing is written and the exit code is 3.",
        "examples": [[{"exists": {"select": "**/kernel"}}]],
        "type": "array",
        "minItems": 1,
        "items": expectations,
    }
    targets = {
        name: _target(type(format), format.suffix, words)
        for name, format in FORMATS.named(words).items()
        if format.can_write
    }
    properties = {name: _value(hint, meta) for name, (hint, meta) in TOP.items()}
    properties["matrix"] = matrix.SCHEMA
    properties["objective"] = mapping_schema(Objective, first_line(Objective))
    properties["cluster"] = mapping_schema(Cluster, first_line(Cluster))
    properties["load"] = _source(words)
    properties["steps"] = {
        "description": "The ops applied to the model, in order.",
        "examples": [[{"scale": {"select": "block1_conv1", "by": 2}}]],
        "type": "array",
        "items": {
            "description": "One op, and optionally a name for it.",
            "examples": [{"scale": {"select": "block1_conv1", "by": 2}}],
            "type": "object",
            "properties": {**_step_name(), **steps, NAME: check},
            "additionalProperties": False,
        },
    }
    properties["expect"] = {
        "description": "What must be true of the result; otherwise nothing is written and the "
        "exit code is 3.",
        "examples": [[{"finite": {"select": "**"}}]],
        "type": "array",
        "items": expectations,
    }
    properties["export"] = {
        "description": "The files to write, one or more; optional "
        "if a step measures or writes (evaluate, predict, activations).",
        "examples": [[{"keras": "out/model.keras"}]],
        "type": "array",
        "minItems": 1,
        "items": {
            "description": "One format and its path.",
            "examples": [{"keras": "out/model.keras"}],
            "type": "object",
            "properties": targets,
            "additionalProperties": False,
        },
    }
    return {
        "$schema": DRAFT,
        "title": "A recipe of surgery",
        "description": "What to do to a TensorFlow or Keras model, and where to write it.",
        "examples": [
            {
                "surgery": 1,
                "load": {"path": "model.keras"},
                "steps": [{"scale": {"select": "dense", "by": 2}}],
                "export": [{"keras": "out.keras"}],
            }
        ],
        "type": "object",
        "properties": properties,
        "patternProperties": {f"^{OWN}": {"description": "Any value, for use with anchors."}},
        "required": ["surgery", "load"],
        "additionalProperties": False,
    }


def _expectations(words: Words) -> dict[str, Any]:
    """Return the schema of one expectation; what is combined may have one level of `not`.

    Each part has a title, so that the schema file has it once.
    """
    known = EXPECTATIONS.named(words)
    each = {
        name: {**schema, "title": f"{known[name].__name__}Expectation"}
        for name, schema in mapping_schemas(known, words).items()
    }
    single: dict[str, Any] = {
        "title": "SingleExpectation",
        "description": "One expectation.",
        "examples": [{"finite": {"select": "**"}}],
        "type": "object",
        "properties": each,
        "additionalProperties": False,
    }
    example = {"absent": {"select": "old/**"}}
    negated = {**single, "description": WORDS["not"], "examples": [example]}
    inner = {**single, "title": "PartExpectation", "properties": {**each, "not": negated}}
    several = {"type": "array", "minItems": 1, "items": inner}
    lists = {
        name: {"description": WORDS[name], "examples": [[example]], **several}
        for name in ("any", "all")
    }
    return {**single, "title": "Expectation", "properties": {**inner["properties"], **lists}}


def _step_name() -> dict[str, Any]:
    hint, meta = step_name()
    return {"name": _value(hint, meta)}


def mapping_schema(declared: type, description: str, words: Words = frozenset()) -> dict[str, Any]:
    """Return the schema of a declared dataclass."""
    hints = hints_of(declared)
    keys = keys_of(declared)
    required = required_of(declared)
    shown = {n: f.metadata["example"] for n, f in keys.items() if f.metadata["in_example"]}
    return {
        "description": description,
        "examples": [shown or {name: f.metadata["example"] for name, f in keys.items()}],
        "type": "object",
        "properties": {name: _key(hints[f.name], f, words) for name, f in keys.items()},
        **({"required": required} if required else {}),
        "additionalProperties": False,
    }


def mapping_schemas(declared: Mapping[str, type], words: Words) -> dict[str, Any]:
    """Return the schemas of declared dataclasses, by their names in recipes."""
    return {name: mapping_schema(each, first_line(each), words) for name, each in declared.items()}


def _target(declared: type[Format], suffix: str, words: Words) -> dict[str, Any]:
    """Return the schema of a target: a path, or a mapping with the format's own keys."""
    mapping = mapping_schema(Target, first_line(declared))
    mapping["properties"] |= mapping_schema(declared, "", words)["properties"]
    path = f"out/weights{'' if suffix.startswith('a ') else suffix}"
    return {**mapping, "examples": [path], "type": ["string", "object"], "minLength": 1}


def _source(words: Words) -> dict[str, Any]:
    return {
        "description": first_line(Source),
        "examples": [{"application": "VGG16", "weights": "imagenet"}, {"path": "model.keras"}],
        **_any_of(SOURCES.named(words), words),
    }


def _any_of(declared: Mapping[str, type], words: Words) -> dict[str, Any]:
    """Return the schema with the keys of all classes; their combination is checked on building."""
    properties: dict[str, Any] = {}
    for each in declared.values():
        keys = mapping_schema(each, "", words)["properties"]
        properties |= {name: key for name, key in keys.items() if name not in properties}
    return {
        "type": ["string", "object"],
        "minLength": 1,
        "properties": properties,
        "additionalProperties": False,
    }


def _key(hint: Any, field: dataclasses.Field[Any], words: Words) -> dict[str, Any]:
    default = getattr(field.default, "value", field.default)
    if field_type(default) is not None:
        default = str(default)
    is_shown = isinstance(default, bool | int | float | str)
    return {**_value(hint, field.metadata, words), **({"default": default} if is_shown else {})}


def _value(hint: Any, metadata: Mapping[str, Any], words: Words = frozenset()) -> dict[str, Any]:
    return {
        "description": metadata["description"],
        "examples": [metadata["example"]],
        **_type(hint, words),
        **metadata["schema"],
    }


def _type(hint: Any, words: Words) -> dict[str, Any]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        inner = _type(typing.get_args(hint)[0], words)
        if bool in typing.get_args(hint):
            return {"anyOf": [inner, {"type": "boolean"}]}
        if "enum" in inner:
            return {"enum": [*inner["enum"], None]}
        if "type" not in inner:
            return {"anyOf": [inner, {"type": "null"}]}
        kinds = inner["type"]
        return {**inner, "type": [*([kinds] if isinstance(kinds, str) else kinds), "null"]}
    if typing.get_origin(hint) is Literal:
        return {"enum": list(typing.get_args(hint))}
    if hint in (Donor, OwnDonor, Operand):
        return {"type": ["string", "object"], "minLength": 1}
    if hint is Data:
        return {"title": "Data", **_any_of(DATA.named(words), words)}
    if typing.get_origin(hint) is Mapping and isinstance(typing.get_args(hint)[1], type):
        return {"type": "object", **_values(typing.get_args(hint)[1], words)}
    if typing.get_origin(hint) is tuple:
        return _list_of(typing.get_args(hint)[0], words)
    if hint in _SCALARS:
        return {"type": [_SCALARS[hint], "string"], "pattern": REFERENCE}
    if hint in (str, Path):
        return {"type": "string", "minLength": 1}
    if (own := field_type(hint)) is not None:
        return {"title": own.__name__, **own.schema()}
    return {"type": "object", **_inner(hint, words)}


def _list_of(hint: Any, words: Words) -> dict[str, Any]:
    items = _type(hint, words)
    if hint is Donor:  # one pattern may match several
        return {"type": ["array", "string"], "items": items, "minLength": 1}
    kinds = [*(["object"] if items.get("type") == "object" else []), "array", "string"]
    return {"type": kinds, "items": items, "pattern": REFERENCE}


def _values(hint: type, words: Words) -> dict[str, Any]:
    """Return the schema of a mapping's values, if they are declared dataclasses."""
    return {"additionalProperties": _type(hint, words)} if dataclasses.is_dataclass(hint) else {}


def _inner(hint: type, words: Words) -> dict[str, Any]:
    """Return the schema of a nested declared dataclass."""
    if not dataclasses.is_dataclass(hint):
        return {}
    facts = mapping_schema(hint, "", words)
    kept = {k: v for k, v in facts.items() if k not in ("description", "examples")}
    return {"title": hint.__name__, **kept}
