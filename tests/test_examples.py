"""Every example in the README, the docs and the schema is what a person may copy."""

import json
import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

from surgery.cli.main import cli
from surgery.recipe.parts import data_from
from surgery.recipe.reading import RecipeFile, merged_cluster
from surgery.recipe.schema import recipe_schema
from surgery.report.reference import sections
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES.remove(ROOT / "docs/extending.md")  # of whose package tests/test_extending.py has the words
BASE = {"surgery": 1, "load": "model.keras", "export": [{"keras": "out/model.keras"}]}
PLACES = {
    "op": lambda name, value: {"steps": [{name: value}]},
    "expectation": lambda name, value: {"expect": [{name: value}], "steps": [MEASURED]},
    "source": lambda _, value: {"load": value},
    "target": lambda name, value: {"export": [{name: value}]},
    "data": lambda _, value: {"steps": [{"evaluate": {"data": value}}]},
}
MEASURED = {"evaluate": {"data": "digits.npz"}}


def read(parts, file="recipe.yaml"):
    return RecipeFile(json.dumps({**BASE, **parts}).encode(), file, Path()).all()


EXAMPLES = [
    (kind, name, example)
    for kind, section in sections().items()
    for name, facts in section.facts.items()
    for example in facts["examples"]
]


@pytest.mark.parametrize(("kind", "name", "example"), EXAMPLES, ids=str)
def test_the_example_of_everything_that_a_recipe_names(kind, name, example):
    assert read(PLACES[kind](name, example))
    shown = yaml.safe_load(sections()[kind].example(name))
    shown = shown[0] if isinstance(shown, list) else shown
    assert list(shown.values()) == [example]


@pytest.mark.parametrize("name", [n for n in recipe_schema()["properties"] if n != "cluster"])
def test_the_example_of_every_key_at_the_top(name):
    schema = recipe_schema()["properties"][name]
    for example in schema["examples"]:
        assert read({name: example})


@pytest.mark.parametrize("name", recipe_schema()["properties"]["cluster"]["properties"])
def test_the_example_of_every_key_of_cluster(name):
    (example,) = recipe_schema()["properties"]["cluster"]["properties"][name]["examples"]
    file = RecipeFile(json.dumps(BASE).encode(), "recipe.yaml", Path())
    assert getattr(merged_cluster(file, {name: example}, runs_setup=True), name) is not None


def fenced(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.M | re.S)


BLOCKS = [
    pytest.param(block, id=f"{path.stem}-{number}")
    for path in PAGES
    for number, block in enumerate(fenced(path, "yaml"))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_yaml_of_the_pages(block):
    """A whole recipe, part of one, or a profile."""
    value = yaml.safe_load(block)
    if isinstance(value, list):
        ((name, inner),) = value[0].items()
        kind = next(kind for kind, each in sections().items() if name in each.facts)
        assert read(PLACES[kind](name, inner))
    elif "surgery" in value:
        assert RecipeFile(block.encode(), "recipe.yaml", Path()).all()
    elif value.keys() <= recipe_schema()["properties"]["cluster"]["properties"].keys():
        file = RecipeFile(json.dumps(BASE).encode(), "recipe.yaml", Path())
        assert merged_cluster(file, value, runs_setup=True)
    elif value.keys() == {"data"}:
        assert data_from(json.dumps(value["data"]))
    else:
        assert not {"load", "export"} <= value.keys(), "a whole recipe begins with surgery: 1"
        assert read({"steps": [MEASURED], **value})


COMMANDS = sorted(
    {
        line.partition("#")[0].partition(" > ")[0].split("surgery ", 1)[1].strip()
        for path in PAGES
        for block in fenced(path, "sh")
        for line in block.splitlines()
        if re.match(r"(\.venv/bin/)?surgery ", line)
    }
)


@pytest.mark.parametrize("line", COMMANDS)
def test_command_lines_of_the_pages(line):
    parsed(cli, shlex.split(line))


def parsed(command, words, parent=None):
    """Have click take the words; raises UsageError where it does not."""
    context = command.make_context(command.name, list(words), parent)
    if isinstance(command, click.Group):
        _, inner, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        parsed(inner, rest, context)
