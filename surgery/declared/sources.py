"""The registry of sources: where the models of `load` and of donors come from."""

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
    """Class decorator: make a source known to recipes."""
    SOURCES.register(declared)
    return declared
