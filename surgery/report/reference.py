"""The ops and formats as text, from their declarations."""

from __future__ import annotations

import json
import textwrap
from typing import Any

from surgery.declaration import first_line
from surgery.formats._base import formats
from surgery.ops._base import ops
from surgery.recipe.schema import recipe_schema
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
        f"{'whole models' if form.holds_architecture else 'weights'} |"
        for name, form in formats().items()
    ]
    return "\n".join(
        ["| format | what it is | files | holds |", "| --- | --- | --- | --- |", *rows]
    )


def _flow(value: Any) -> str:
    """YAML in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, str) and value.replace("/", "").replace("_", "").isalnum():
        return value
    return json.dumps(value)
