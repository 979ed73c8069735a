"""The JSON Schema in its written form: shared parts occur once, under `$defs`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from surgery.declared.fields import as_json
from surgery.recipe.schema import Words, recipe_schema

_ANNOTATIONS = ("description", "examples", "default")


def schema_text(words: Words = frozenset()) -> str:
    """Return the schema of recipes as text; `words` are those from other packages."""
    return as_json(with_definitions(recipe_schema(words))) + "\n"


def with_definitions(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same schema with each part that has a title moved to `$defs`."""
    definitions: dict[str, Any] = {}
    made = _referring(schema, definitions, schema["title"])
    return {**made, "$defs": dict(sorted(definitions.items()))}


def _referring(value: Any, definitions: dict[str, Any], root: str) -> Any:
    if isinstance(value, list):
        return [_referring(item, definitions, root) for item in value]
    if not isinstance(value, Mapping):
        return value
    inner = {
        key: item if key in _ANNOTATIONS else _referring(item, definitions, root)
        for key, item in value.items()
    }
    title = inner.get("title")
    if not isinstance(title, str) or title == root:  # a key called `title` has a mapping here
        return inner
    body = {key: item for key, item in inner.items() if key not in _ANNOTATIONS}
    name = f"{title}OrNull" if "null" in body.get("type", ()) else title
    if definitions.setdefault(name, body) != body:
        return inner
    notes = {key: item for key, item in inner.items() if key in _ANNOTATIONS}
    return {**notes, "$ref": f"#/$defs/{name}"}
