"""Single parts of a recipe, from Python code or from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from surgery.declared.data import Data
from surgery.errors import RecipeError, UsageError
from surgery.ops.base import OPS, Op
from surgery.recipe.building import Builder, without_repeats
from surgery.recipe.document import Document, parse
from surgery.recipe.language import Target
from surgery.recipe.plugins import foreign_words
from surgery.recipe.schema import Words, recipe_schema
from surgery.recipe.validation import schema_problems
from surgery.weights.model import Model
from surgery.weights.random import Randomness
from surgery.weights.sources import InMemory, Source


def recipe_text(value: object, sources: dict[str, Source] | None = None) -> str:
    """Return a value from Python code as JSON, including NumPy's numbers and paths.

    A Model becomes a name, under which it is added to `sources`. Raises UsageError for values that
    a recipe cannot contain.
    """

    def written(item: object) -> object:
        if isinstance(item, np.generic | np.ndarray):
            return item.tolist()
        if isinstance(item, Path):
            return str(item)
        if isinstance(item, Model) and sources is not None:
            name = f"<model at {id(item):#x}>"  # not a possible file name
            sources[json.dumps({"path": name})] = InMemory(item)
            return name
        raise UsageError(f"{item!r} cannot be part of a recipe; give numbers and text")

    return json.dumps(value, default=written)


def _plain(value: Any, sources: dict[str, Source]) -> Any:
    return json.loads(recipe_text(value, sources))


def build_op(name: str, keys: Mapping[str, Any], seed: int = 0, **others: Any) -> Op:
    """Make an op from its keys as in a recipe, and from fields that are not keys.

    Raises RecipeError for wrong keys.
    """
    sources: dict[str, Source] = {}
    keys = _plain(keys, sources)
    words = foreign_words({"steps": [{name: keys}]})
    schema = recipe_schema(words)["properties"]["steps"]["items"]["properties"][name]
    declared = OPS.named(words)[name]
    built = _built(
        name, keys, schema, words, sources, lambda b: b.declared(declared, keys, (), **others)
    )
    assert isinstance(built, Op)
    return replace(built, draws=Randomness(seed, name))


def build_source(value: Mapping[str, Any]) -> Source:
    """Make a source from a mapping as in `load`; raises RecipeError for wrong keys."""
    sources: dict[str, Source] = {}
    load = _plain(value, sources)
    words = foreign_words({"load": load})
    schema = {"properties": {"load": recipe_schema(words)["properties"]["load"]}}
    built = _built("surgery.open", {"load": load}, schema, words, sources, lambda b: b.source(load))
    assert isinstance(built, Source)
    return built


def build_target(name: str, value: Any) -> Target:
    """Make a target from a path or mapping as in `export`; raises RecipeError for wrong keys."""
    target = {name: _plain(value, {})}
    words = foreign_words({"export": [target]})
    schema = recipe_schema(words)["properties"]["export"]["items"]
    built = _built("surgery.save", target, schema, words, {}, lambda b: b.target(target, ()))
    assert isinstance(built, Target)
    return built


def _built(
    name: str,
    value: Any,
    schema: Mapping[str, Any],
    words: Words,
    sources: dict[str, Source],
    make: Callable[[Builder], Any],
) -> Any:
    """Return the result of `make` for a part of a recipe; raises RecipeError with all problems."""
    document = Document(value, {}, {})
    problems = schema_problems(schema, value, document)
    builder = Builder(document, Path(), sources, words)
    built = make(builder)
    problems += without_repeats(builder.problems, problems)
    if problems or built is None:
        raise RecipeError(name, problems)
    return built


def data_from(text: str) -> Data:
    """Read data from the command line: a path, or a mapping in one line; raises UsageError."""
    document = parse(text.encode(), "--data") if text.startswith("{") else Document(text, {}, {})
    builder = Builder(document, Path(), words=foreign_words({"data": document.value}))
    try:
        made = builder.data(document.value, ())
    except ValueError as error:
        raise UsageError(f"--data: {error}") from None
    if made is None:
        messages = [problem.message for problem in builder.problems]
        raise UsageError(f"--data: {messages[0] if messages else 'write it as in a recipe'}")
    return made
