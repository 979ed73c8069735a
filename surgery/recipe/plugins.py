"""Extensions of the recipe language by other installed packages."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from surgery.declared.data import DATA
from surgery.declared.registry import PluginError, Registry, plugins
from surgery.declared.sources import SOURCES
from surgery.expectations.base import EXPECTATIONS
from surgery.formats.base import FORMATS
from surgery.ops.base import OPS
from surgery.recipe.document import Place
from surgery.recipe.schema import Words, recipe_schema

_GROUPS = (OPS, FORMATS, EXPECTATIONS, DATA, SOURCES)


@functools.cache
def _own_words() -> Words:
    """Return every key of surgery's own language."""
    return frozenset(_keys_in(recipe_schema()))


def _keys_in(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        if isinstance(properties := schema.get("properties"), Mapping):
            yield from properties
        for inner in schema.values():
            yield from _keys_in(inner)


def foreign_words(recipe: Mapping[str, Any]) -> Words:
    """Return the words of a recipe that are from other packages.

    An op may have the name of another part's key, since it has a place of its own.
    """
    found: set[str] = set()
    for place, group in _PLACES.items():
        found |= group.others(frozenset(_keys_of_items(recipe.get(place))))
    words = frozenset(place[-1] for place in _places_in(recipe) if isinstance(place[-1], str))
    inner = words - _own_words() - found
    return frozenset(found.union(*(group.others(inner) for group in (DATA, SOURCES))))


_PLACES: Mapping[str, Registry[Any]] = {"steps": OPS, "expect": EXPECTATIONS, "export": FORMATS}


def _keys_of_items(value: Any) -> Iterator[str]:
    for item in value if isinstance(value, list) else ():
        yield from (key for key in item if key != "name") if isinstance(item, Mapping) else ()


def places_of(word: str, recipe: Mapping[str, Any]) -> Iterator[Place]:
    """Yield the places of a key in a recipe."""
    return (place for place in _places_in(recipe) if place[-1] == word)


def _places_in(value: Any, place: Place = ()) -> Iterator[Place]:
    """Yield the place of every key, and of every item of a list."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value)
    for name, inner in items:
        yield (*place, name)
        if isinstance(inner, Mapping | list):
            yield from _places_in(inner, (*place, name))


def packages_of(words: Words) -> dict[str, str]:
    """Return {package: version} of the packages that provide the words."""
    return {p: version for group in _GROUPS for p, version in group.packages(words).items()}


def installed() -> tuple[Words, list[PluginError]]:
    """Return all words from other packages, and the errors of unusable ones; imports all."""
    words: set[str] = set()
    problems: list[PluginError] = []
    for group in _GROUPS:
        found, wrong = group.everything()
        words |= found.keys() - group.own().keys()
        problems += wrong
    for group in (DATA, SOURCES):  # these are recognised by one of several keys
        for plugin in plugins(group.group):
            if plugin.name in _own_words() - group.own().keys():
                problems.append(plugin.error(f"has the name of surgery's key {plugin.name!r}"))
    return frozenset(words), problems
