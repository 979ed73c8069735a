"""The ops and formats as text, from their declarations."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from typing import Any

from surgery.declaration import first_line
from surgery.formats._base import formats
from surgery.keras_bridge.data._base import Data, kinds
from surgery.ops._base import ops
from surgery.recipe.schema import mapping_schema, recipe_schema
from surgery.report.tables import table


def op_facts(name: str) -> dict[str, Any]:
    """The JSON Schema of one op."""
    steps = recipe_schema()["properties"]["steps"]["items"]["properties"]
    return dict(steps[name])


def ops_text() -> str:
    """All ops, a line each."""
    return table(["op", "what it does"], [[name, first_line(op)] for name, op in ops().items()])


def op_text(name: str) -> str:
    """One op with its keys: what they mean, and an example."""
    facts = op_facts(name)
    example = {**facts["examples"][0]}
    lines = [facts["description"], "", f"  - {name}: {_flow(example)}", ""]
    for key, meaning in facts["properties"].items():
        needed = " (required)" if key in facts.get("required", []) else ""
        lines.append(f"{key}{needed}")
        text = f"{meaning['description']} For example {_flow(meaning['examples'][0])}."
        lines += textwrap.wrap(text, 76, initial_indent="    ", subsequent_indent="    ")
        if "enum" in meaning:
            lines.append(
                f"    One of {', '.join(str(v) for v in meaning['enum'] if v is not None)}."
            )
    return "\n".join(lines)


def ops_markdown() -> str:
    """The README's table of ops."""
    rows = [f"| `{name}` | {first_line(op)} |" for name, op in ops().items()]
    return "\n".join(["| op | what it does |", "| --- | --- |", *rows])


def formats_markdown() -> str:
    """The README's table of formats."""
    rows = [
        f"| `{name}` | {first_line(type(form))} | {form.suffix} | "
        f"{'whole models' if form.holds_architecture else 'weights'}"
        f"{'' if form.can_read else ', written only'} |"
        for name, form in formats().items()
    ]
    return "\n".join(
        ["| format | what it is | files | holds |", "| --- | --- | --- | --- |", *rows]
    )


def _flow(value: Any) -> str:
    """YAML in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w./%-]*|\d+%", value):
        return value
    return json.dumps(value)


def reference_markdown() -> str:
    """docs/reference.md: every key of the recipe language."""
    schema = recipe_schema()["properties"]
    parts = [
        "# The recipe language, key by key",
        "Made from the declarations by `surgery schema --reference`; a test holds it.",
        "## A recipe",
        *(_key_line(name, meaning) for name, meaning in schema.items()),
        "## matrix",
        "Each other key is a parameter with its values: a list, or `{file: levels.txt}`.",
        *_key_lines(schema["matrix"]["properties"]),
        "## cluster",
        *_key_lines(schema["cluster"]["properties"]),
        "## load",
        *(_key_line(name, meaning) for name, meaning in schema["load"]["properties"].items()),
        "## A selector",
        "A pattern, a list of selectors (any of them), or a mapping (all of it):",
        *(_key_line(name, meaning) for name, meaning in _selector_facts().items()),
        "## Data",
        "A path (.npz or .csv), or a mapping of one of these forms and its keys:",
        *(line for kind in kinds().values() for line in _data_lines(kind)),
    ]
    parts += ["# Steps"]
    for name in ops():
        parts += _section(name, op_facts(name))
    parts += ["# Expectations", schema["expect"]["description"]]
    for name, facts in schema["expect"]["items"]["properties"].items():
        parts += _section(name, facts)
    parts += ["# Targets", "A path, or a mapping of these keys."]
    for name, facts in schema["export"]["items"]["properties"].items():
        parts += _section(name, facts)
    text = "\n\n".join(parts)
    return re.sub(r"\n\n( *- `)", r"\n\1", text) + "\n"


def _data_lines(kind: type[Data]) -> list[str]:
    """The keys of one form of data."""
    return [first_line(kind), *_key_lines(mapping_schema(kind, "")["properties"])]


def _section(name: str, facts: dict[str, Any]) -> list[str]:
    return [
        f"## {name}",
        facts["description"],
        f"```yaml\n- {name}: {_flow(facts['examples'][0])}\n```",
        *_key_lines(facts["properties"]),
    ]


def _key_lines(properties: dict[str, Any], indent: str = "") -> Iterator[str]:
    """The keys, and those of mappings inside; selectors and data have sections of their own."""
    for name, meaning in properties.items():
        yield indent + _key_line(name, meaning)
        inner = meaning if meaning.get("properties") else meaning.get("items", {})
        if not {"path", "npz"} & inner.get("properties", {}).keys():
            yield from _key_lines(inner.get("properties", {}), indent + "  ")


def _selector_facts() -> dict[str, Any]:
    return dict(op_facts("zero")["properties"]["select"]["properties"])


def _key_line(name: str, meaning: dict[str, Any]) -> str:
    return f"- `{name}`: {meaning['description']} For example `{_flow(meaning['examples'][0])}`."
