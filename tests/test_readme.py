"""The README says what is so."""

import re

import pytest

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_mission_s_recipe_is_the_one_that_ships():
    (shown,) = [b for b in blocks("yaml") if b.startswith("surgery: 1")]
    lines = (ROOT / "recipes/vgg16-boost.yaml").read_text().splitlines()
    code = [line for line in lines if line and not line.startswith("#")]
    assert [line for line in shown.splitlines() if not line.startswith("#")] == code


def test_ci_runs_the_test_command():
    install, run = re.search(
        r"(\S+ -m pip install .*\[test\]\") && (\S+ -m pytest)", README
    ).groups()
    script = (ROOT / ".ci/run").read_text()
    assert install in script
    assert run in script


def test_python_examples_run(tmp_path, monkeypatch):
    from tests.conftest import dense_model

    monkeypatch.chdir(tmp_path)
    dense_model(tmp_path, "model.keras", ("dense", "other"))
    page = re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(), re.DOTALL)
    for block in [*blocks("python"), *(block for block in page if "surgery.train(" not in block)]:
        exec(compile(block, "README.md", "exec"), {})
    names = {path.name for path in tmp_path.iterdir()}
    assert names >= {"scaled.keras", "scaled.h5", "scaled.safetensors", "weights", "halved.keras"}


@pytest.mark.parametrize("command", re.findall(r"^\.venv/bin/surgery (\w+)", README, re.M))
def test_every_command_shown_exists(command):
    from surgery.cli.main import cli

    assert command in cli.list_commands(None)
