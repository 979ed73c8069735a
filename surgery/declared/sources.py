"""The registry of sources: the kinds of `load` and of donors."""

from __future__ import annotations

from surgery.declared.registry import Registry
from surgery.weights.sources import Source

SOURCES: Registry[type[Source]] = Registry(
    "surgery.sources",
    "surgery.recipe.sources",
    Source,
    lambda declared: declared,
    "kind",
    first="path",
)


def source(declared: type[Source]) -> type[Source]:
    """Register a source for recipes; a class decorator."""
    SOURCES.register(declared)
    return declared
