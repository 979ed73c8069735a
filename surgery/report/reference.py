"""The recipe language as text, for `surgery ops`, the reference and the README."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from surgery.declared.data import DATA
from surgery.declared.fields import first_line
from surgery.declared.sources import SOURCES
from surgery.errors import synonym
from surgery.expectations.combined import WORDS
from surgery.formats.base import formats
from surgery.ops.base import OPS, ops
from surgery.recipe.schema import Words, mapping_schemas, recipe_schema
from surgery.report.tables import PAGE, listing, wrapped

Facts = Mapping[str, Any]
"""A JSON Schema."""


@dataclass(frozen=True)
class Section:
    """One kind of named parts of a recipe, with a description and the form in a recipe."""

    title: str
    about: str
    place: str
    facts: Mapping[str, Facts]

    def example(self, name: str) -> str:
        """Return an example in YAML; a long one has a line for each key."""
        value = self.facts[name]["examples"][0]
        head = self.place.format(name)
        line = f"{head}: {_flow(value)}"
        if len(line) <= PAGE - 2 or not isinstance(value, dict):
            return line
        indent = "    " if head.startswith("-") else "  "
        return "\n".join([f"{head}:", *(f"{indent}{k}: {_flow(v)}" for k, v in value.items())])


@cache
def sections(words: Words = frozenset()) -> Mapping[str, Section]:
    """Return all named parts of recipes, by kind; `words` are those from other packages."""
    recipe = recipe_schema(words)["properties"]
    steps = recipe["steps"]["items"]["properties"]
    return {
        "op": Section("Steps", recipe["steps"]["description"], "- {}",
                      {name: steps[name] for name in OPS.named(words)}),
        "expectation": Section("Expectations", recipe["expect"]["description"], "- {}",
                               _alone(recipe["expect"]["items"]["properties"])),
        "source": Section("Sources", "Where a model comes from, for load and for donors.",
                          "load", mapping_schemas(SOURCES.named(words), words)),
        "target": Section("Targets", "A path, or a mapping of these keys.", "- {}",
                          recipe["export"]["items"]["properties"]),
        "data": Section("Data", "A path (.npz or .csv), or a mapping of one form and its keys.",
                        "data", mapping_schemas(DATA.named(words), words)),
    }  # fmt: skip


def _alone(expectations: Mapping[str, Facts]) -> Mapping[str, Facts]:
    """Return expectations, those that combine others without the keys of all others."""
    alone = {name: {**expectations[name], "properties": {}, "items": {}} for name in WORDS}
    return {**expectations, **alone}


def named(name: str, words: Words = frozenset()) -> dict[str, Facts]:
    """Return the parts of that name, by kind; a format may be a target and a kind of data."""
    parts = sections(words).items()
    return {kind: each.facts[name] for kind, each in parts if name in each.facts}


def meant(word: str) -> str | None:
    """Return the word of a recipe that a word is, or is a synonym of; else None."""
    known = [name for each in sections().values() for name in each.facts]
    return word if word in known else synonym(word, known)


def ops_text(words: Words = frozenset()) -> str:
    """Return all named parts of recipes, one a line."""
    parts = []
    for each in sections(words).values():
        meanings = {name: facts["description"] for name, facts in each.facts.items()}
        parts.append(f"{each.title}:\n{listing(meanings)}")
    return "\n\n".join([*parts, "surgery ops NAME shows the keys of one."])


def op_text(name: str, words: Words = frozenset()) -> str:
    """Return the parts of that name: their keys, meanings and an example."""
    parts = []
    for kind, facts in named(name, words).items():
        head = wrapped(f"{name} ({kind}): {facts['description']}")
        example = textwrap.indent(sections(words)[kind].example(name), "  ")
        parts.append("\n".join([head, "", example, "", *_wrapped_keys(facts)]))
    return "\n\n".join(parts)


def _wrapped_keys(facts: Facts, indent: str = "") -> Iterator[str]:
    for key, meaning in facts.get("properties", {}).items():
        yield f"{indent}{key}{_needed(key, facts)}"
        yield wrapped(_meaning(meaning), indent + "    ", indent + "    ")
        yield from _wrapped_keys(_inner(meaning), indent + "    ")


def _needed(name: str, facts: Facts) -> str:
    return " (required)" if name in facts.get("required", []) else ""


def _meaning(meaning: Facts, quote: str = "") -> str:
    """Return a key's meaning, allowed values, default and an example; values in quotes."""
    allowed = [f"{quote}{value}{quote}" for value in meaning.get("enum", []) if value is not None]
    parts = [meaning["description"]]
    if allowed:
        parts.append(f"One of {', '.join(allowed)}.")
    if "default" in meaning:
        parts.append(f"Default: {quote}{_flow(meaning['default'])}{quote}.")
    example = f"{quote}{_flow(meaning['examples'][0])}{quote}"
    return " ".join([*parts, f"For example {example}."])


def _inner(meaning: Facts) -> Facts:
    """Return the schema of a nested mapping; empty for parts with their own sections."""
    inner: Facts = meaning if meaning.get("properties") else meaning.get("items", {})
    return {} if {"path", "npz"} & inner.get("properties", {}).keys() else inner


def ops_markdown() -> str:
    """Return the README's table of ops."""
    rows = [f"| `{name}` | {first_line(op)} |" for name, op in ops().items()]
    return "\n".join(["| op | what it does |", "| --- | --- |", *rows])


def formats_markdown() -> str:
    """Return the README's table of formats."""
    rows = [
        f"| `{name}` | {first_line(type(form))} | {form.suffix} | "
        f"{'whole models' if form.holds_architecture else 'weights'}"
        f"{'' if form.can_read else ', write-only'} |"
        for name, form in formats().items()
    ]
    return "\n".join(
        ["| format | what it is | files | holds |", "| --- | --- | --- | --- |", *rows]
    )


def _flow(value: Any) -> str:
    """Return a value as YAML in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w./%-]*|\d+%", value):
        return value
    return json.dumps(value)


def reference_markdown() -> str:
    """Return docs/reference.md, with every key of the recipe language."""
    recipe = recipe_schema()
    keys = recipe["properties"]
    parts = [
        "# The recipe language, key by key",
        "Generated from the declarations by `python -m tests.regenerate`; a test compares it.",
        "## A recipe",
        *(_key_line(name, meaning, recipe) for name, meaning in keys.items()),
        "## matrix",
        "Each other key is a parameter with its values: a list, or `{file: levels.txt}`.",
        *_key_lines(keys["matrix"]),
        "## objective",
        *_key_lines(keys["objective"]),
        "## cluster",
        *_key_lines(keys["cluster"]),
        "## A selector",
        "A pattern, a list of selectors (any must match), or a mapping (all must match):",
        *_key_lines(named("zero")["op"]["properties"]["select"]),
    ]
    for section in sections().values():
        parts += [f"# {section.title}", section.about]
        for name, facts in section.facts.items():
            parts += [f"## {name}", facts["description"]]
            parts += [f"```yaml\n{section.example(name)}\n```", *_key_lines(facts)]
    text = "\n\n".join(parts)
    return re.sub(r"\n\n( *- `)", r"\n\1", text) + "\n"


def _key_lines(facts: Facts, indent: str = "") -> Iterator[str]:
    """Yield a line for every key, including those of nested mappings."""
    for name, meaning in facts.get("properties", {}).items():
        yield indent + _key_line(name, meaning, facts)
        yield from _key_lines(_inner(meaning), indent + "  ")


def _key_line(name: str, meaning: Facts, facts: Facts) -> str:
    return f"- `{name}`{_needed(name, facts)}: {_meaning(meaning, '`')}"
