"""The JSON Schema of the recipe language, made from the declarations; no second list."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from surgery.declared.data import Data, kinds
from surgery.declared.fields import REQUIRED, Share, first_line, hints_of, keys_of
from surgery.formats.base import Format
from surgery.recipe import matrix
from surgery.recipe.cluster import Cluster
from surgery.recipe.language import TOP, Target, step_name
from surgery.recipe.objective import Objective
from surgery.recipe.params import OWN
from surgery.recipe.sources import source_keys
from surgery.weights.selectors import Select
from surgery.weights.sources import Donor, Source

DRAFT = "https://json-schema.org/draft/2020-12/schema"
REFERENCE = r"^\$\{[^}]+\}$"
"""A parameter may stand for any number or truth value."""

_SCALARS: Mapping[Any, str] = {float: "number", int: "integer", bool: "boolean"}


@functools.cache
def recipe_schema() -> Mapping[str, Any]:
    """The whole schema."""
    from surgery.expectations.base import expectations
    from surgery.formats.base import formats
    from surgery.ops.base import ops

    steps = {name: mapping_schema(op, first_line(op)) for name, op in ops().items()}
    targets = {
        name: _target(type(format), format.suffix)
        for name, format in formats().items()
        if format.can_write
    }
    properties = {name: _value(hint, meta) for name, (hint, meta) in TOP.items()}
    properties["matrix"] = matrix.SCHEMA
    properties["objective"] = mapping_schema(Objective, first_line(Objective))
    properties["cluster"] = mapping_schema(Cluster, first_line(Cluster))
    properties["load"] = _source()
    properties["steps"] = {
        "description": "What is done to the model, in this order.",
        "examples": [[{"scale": {"select": "block1_conv1", "by": 2}}]],
        "type": "array",
        "items": {
            "description": "One operation, and optionally a name for it.",
            "examples": [{"scale": {"select": "block1_conv1", "by": 2}}],
            "type": "object",
            "properties": {**_step_name(), **steps},
            "additionalProperties": False,
        },
    }
    properties["expect"] = {
        "description": "What must hold of the result; if it does not, nothing is written and the "
        "exit code is 3.",
        "examples": [[{"finite": {"select": "**"}}]],
        "type": "array",
        "items": {
            "description": "One expectation.",
            "examples": [{"finite": {"select": "**"}}],
            "type": "object",
            "properties": {
                name: mapping_schema(declared, first_line(declared))
                for name, declared in expectations().items()
            },
            "additionalProperties": False,
        },
    }
    properties["export"] = {
        "description": "Where the model is written to, one or more files; it may be left out "
        "where a step measures or writes (evaluate, predict, activations).",
        "examples": [[{"keras": "out/model.keras"}]],
        "type": "array",
        "minItems": 1,
        "items": {
            "description": "One format and where it goes.",
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
        "patternProperties": {f"^{OWN}": {"description": "Anything: a place for anchors."}},
        "required": ["surgery", "load"],
        "additionalProperties": False,
    }


def _step_name() -> dict[str, Any]:
    hint, meta = step_name()
    return {"name": _value(hint, meta)}


def mapping_schema(declared: type, description: str) -> dict[str, Any]:
    """The schema of a declared dataclass."""
    hints = hints_of(declared)
    keys = keys_of(declared)
    required = [
        name
        for name, f in keys.items()
        if f.default is REQUIRED and f.default_factory is dataclasses.MISSING
    ]
    shown = {n: f.metadata["example"] for n, f in keys.items() if f.metadata["in_example"]}
    return {
        "description": description,
        "examples": [shown or {name: f.metadata["example"] for name, f in keys.items()}],
        "type": "object",
        "properties": {name: _key(hints[f.name], f) for name, f in keys.items()},
        **({"required": required} if required else {}),
        "additionalProperties": False,
    }


def _target(declared: type[Format], suffix: str) -> dict[str, Any]:
    mapping = mapping_schema(Target, first_line(declared))
    mapping["properties"] |= mapping_schema(declared, "")["properties"]
    path = f"out/weights{'' if suffix.startswith('a ') else suffix}"
    return {**mapping, "examples": [path], "type": ["string", "object"], "minLength": 1}


def _source() -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for declared, name in source_keys():
        properties.setdefault(name, _key(hints_of(declared)[name], keys_of(declared)[name]))
    return {
        "description": first_line(Source),
        "examples": [{"application": "VGG16", "weights": "imagenet"}, {"path": "model.keras"}],
        "type": ["string", "object"],
        "minLength": 1,
        "properties": properties,
        "additionalProperties": False,
    }


def _key(hint: Any, field: dataclasses.Field[Any]) -> dict[str, Any]:
    default = getattr(field.default, "value", field.default)
    if isinstance(default, Share) or hasattr(default, "from_recipe"):
        default = str(default)
    is_shown = isinstance(default, bool | int | float | str)
    return {**_value(hint, field.metadata), **({"default": default} if is_shown else {})}


def _value(hint: Any, metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "description": metadata["description"],
        "examples": [metadata["example"]],
        **_type(hint),
        **metadata["schema"],
    }


def _type(hint: Any) -> dict[str, Any]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        inner = _type(typing.get_args(hint)[0])
        if "enum" in inner:
            return {"enum": [*inner["enum"], None]}
        kinds = inner["type"]
        return {**inner, "type": [*([kinds] if isinstance(kinds, str) else kinds), "null"]}
    if typing.get_origin(hint) is Literal:
        return {"enum": list(typing.get_args(hint))}
    if hint is Select:
        return _select()
    if hint is Share:
        return {"type": ["number", "string"], "minimum": 0, "maximum": 1}
    if hint is Donor:
        return {"type": ["string", "object"], "minLength": 1}
    if hint is Data:
        return _data()
    if typing.get_origin(hint) is Mapping and isinstance(typing.get_args(hint)[1], type):
        return {"type": "object", **_values(typing.get_args(hint)[1])}
    if typing.get_origin(hint) is tuple:
        return _list_of(typing.get_args(hint)[0])
    if hint in _SCALARS:
        return {"type": [_SCALARS[hint], "string"], "pattern": REFERENCE}
    if hint in (str, Path):
        return {"type": "string", "minLength": 1}
    if hasattr(hint, "schema"):
        return dict(hint.schema())
    return {"type": "object", **_inner(hint)}


def _list_of(hint: Any) -> dict[str, Any]:
    items = _type(hint)
    if hint is Donor:  # one pattern may stand for several
        return {"type": ["array", "string"], "items": items, "minLength": 1}
    kinds = [*(["object"] if items["type"] == "object" else []), "array", "string"]
    return {"type": kinds, "items": items, "pattern": REFERENCE}


def _values(hint: type) -> dict[str, Any]:
    """What a mapping's values are, where they are mappings with keys of their own."""
    return {"additionalProperties": _type(hint)} if dataclasses.is_dataclass(hint) else {}


def _inner(hint: type) -> dict[str, Any]:
    """The keys of a mapping inside another."""
    facts = mapping_schema(hint, "") if dataclasses.is_dataclass(hint) else {}
    return {k: v for k, v in facts.items() if k not in ("description", "examples")}


def _data() -> dict[str, Any]:
    """The keys of all forms of data; which go together is checked when it is built."""
    properties: dict[str, Any] = {}
    for declared in kinds().values():
        properties |= {k: v for k, v in mapping_schema(declared, "")["properties"].items()
                       if k not in properties}  # fmt: skip
    return {
        "type": ["string", "object"],
        "minLength": 1,
        "properties": properties,
        "additionalProperties": False,
    }


def _select() -> dict[str, Any]:
    """A selector's schema; its patterns and ranges are checked when it is built."""
    strings = {"type": ["string", "array"], "items": {"type": "string"}}
    nested = {"type": ["string", "array", "object"]}
    integers = {"type": ["integer", "array"], "items": {"type": "integer"}}
    facts: dict[str, tuple[str, object, dict[str, Any]]] = {
        "path": ("A pattern over addresses, or a list of them.", "block1_*/**", nested),
        "type": ("The Keras class of the layer, or of one it is in.", "Dense", strings),
        "variable": ("The variable's own name.", "kernel", strings),
        "trainable": ("Whether Keras trains it.", True, {"type": "boolean"}),
        "dtype": ("Its dtype.", "float32", strings),
        "rank": ("Its number of dimensions.", 2, integers),
        "min_size": ("It has at least so many elements.", 1000, {"type": "integer"}),
        "layers": (
            "From one layer to another in layer order, both included.",
            "block1_conv1..block3_pool",
            {"type": "string"},
        ),
        "state": (
            "Other variables of a checkpoint than weights: optimizer (slots, counters of steps) or "
            "other (metrics, seeds). Only a selector with this names them.",
            "optimizer",
            strings,
        ),
        "not": ("A selector of what is left out.", "*/bias", nested),
    }
    properties = {
        name: {"description": description, "examples": [example], **schema}
        for name, (description, example, schema) in facts.items()
    }
    return {
        "type": ["string", "array", "object"],
        "items": {"type": ["string", "object", "array"]},
        "properties": properties,
        "additionalProperties": False,
        "minLength": 1,
    }
