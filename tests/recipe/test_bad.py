"""Every bad recipe's message, to the letter. They stand in bad.txt, with their exit codes."""

import os
from pathlib import Path

import pytest

from surgery.errors import SurgeryError
from surgery.recipe.reading import read_recipe
from tests.conftest import dense_model
from tests.recipe.bad import SOURCES
from tests.regenerate import BAD, message


def expected():
    sections = BAD.read_text().split("\n\n")
    return {head: rest for head, _, rest in (s.strip().partition("\n") for s in sections)}


@pytest.mark.parametrize("name", SOURCES)
def test_message(name, tmp_path, monkeypatch):
    dense_model(tmp_path, "small.keras")
    monkeypatch.chdir(tmp_path)
    before = sorted(os.listdir())
    assert message(name) == expected()[name]
    assert sorted(os.listdir()) == before


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
