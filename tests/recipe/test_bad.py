"""Every bad recipe's message, to the letter. They stand in bad.txt, with their exit codes."""

import os
from pathlib import Path

import pytest

from surgery.errors import SurgeryError
from surgery.execution.planning import make_plan
from surgery.recipe.reading import read_recipe
from tests.conftest import dense_model
from tests.recipe.bad import SOURCES

EXPECTED = Path(__file__).with_name("bad.txt")


def expected():
    sections = EXPECTED.read_text().split("\n\n")
    return {head: rest for head, _, rest in (s.strip().partition("\n") for s in sections)}


def problem(name, folder):
    (folder / "recipe.yaml").write_text(SOURCES[name])
    try:
        make_plan(read_recipe(Path("recipe.yaml")))
    except SurgeryError as error:
        return f"exit {error.exit_code}\n{error}"
    return "valid"


@pytest.mark.parametrize("name", SOURCES)
def test_message(name, tmp_path, monkeypatch):
    dense_model(tmp_path, "small.keras")
    monkeypatch.chdir(tmp_path)
    before = sorted(os.listdir())
    assert problem(name, tmp_path) == expected()[name]
    assert sorted(set(os.listdir()) - {"recipe.yaml"}) == before


def test_all_problems_are_told_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(
        "surgery: 2\nload: {path: a, b: 1}\nsteps:\n  - scael: {}\n  - scale: {select: 3, by: x}\n"
        "export: []\n"
    )
    with pytest.raises(SurgeryError) as error:
        read_recipe(Path("r.yaml"))
    lines = str(error.value).splitlines()
    assert [line.split(": ")[0].split(":", 1)[1] for line in lines] == [
        "1:10", "2:17", "4:5", "5:21", "5:28", "6:9",
    ]  # fmt: skip
