"""What other installed packages add to the recipe language, by the words of a recipe."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from surgery.declared.data import DATA
from surgery.declared.registry import PluginError
from surgery.declared.sources import SOURCES
from surgery.expectations.base import EXPECTATIONS
from surgery.formats.base import FORMATS
from surgery.ops.base import OPS
from surgery.recipe.schema import Words, recipe_schema

_GROUPS = (OPS, FORMATS, EXPECTATIONS, DATA, SOURCES)


@functools.cache
def _own_words() -> Words:
    """Every key of surgery's own language, and of what it names."""
    return frozenset(_keys_in(recipe_schema()))


def _keys_in(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        if isinstance(properties := schema.get("properties"), Mapping):
            yield from properties
        for inner in schema.values():
            yield from _keys_in(inner)


def foreign_words(value: Any) -> Words:
    """Return those keys in a recipe that name something of another package."""
    words = frozenset(_words_in(value)) - _own_words()
    return frozenset(name for group in _GROUPS for name in group.others(words)) if words else words


def _words_in(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from (name for name in value if isinstance(name, str))
        for inner in value.values():
            yield from _words_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _words_in(inner)


def packages_of(words: Words) -> dict[str, str]:
    """Return the packages that those words are from, with their versions."""
    return {p: version for group in _GROUPS for p, version in group.packages(words).items()}


def installed() -> tuple[Words, list[PluginError]]:
    """Return all words that other packages add, and what is wrong with the rest; imports all."""
    words: set[str] = set()
    problems: list[PluginError] = []
    for group in _GROUPS:
        found, wrong = group.everything()
        words |= found.keys() - group.own().keys()
        problems += wrong
    return frozenset(words), problems
