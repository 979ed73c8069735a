"""CONTRIBUTING's examples work as files of the package would."""

import re
import subprocess
import sys

import numpy as np
from click.testing import CliRunner

from tests.conftest import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text()

# Each example is a module of the room that it says, imported before the schema is made.
USE = """
import sys, types
import surgery
from surgery.recipe.parts import data_from

def add(name, code):
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(code, name, "exec"), module.__dict__)

signs, text = {blocks!r}
add("surgery.expectations.signs", signs)
add("surgery.data.text", text)
recipe = {{"surgery": 1, "name": "r", "load": "m.npz", "export": [{{"npz": "out.npz"}}]}}
surgery.run({{**recipe, "expect": [{{"non_negative": {{"select": "a"}}}}]}})
try:
    surgery.run({{**recipe, "expect": [{{"non_negative": {{"select": "b"}}}}]}})
except surgery.ExpectationError as error:
    print(error)
examples = data_from("{{text: rows.txt}}").open()
print(examples.count, {{name: column.shape for name, column in examples.columns.items()}})
"""


def test_the_examples_of_an_expectation_and_of_data(tmp_path):
    np.savez(tmp_path / "m.npz", a=np.float32([0, 1]), b=np.float32([-2, 1]))
    (tmp_path / "rows.txt").write_text("1 2 0\n3 4 1\n5 6 0\n")
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", USE.format(blocks=blocks)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    failed, read = done.stdout.splitlines()
    assert failed.endswith("expect[0].non_negative: b reaches -2, expected nothing below 0")
    assert read == "3 {'x': (2,), 'y': ()}"


def test_the_example_of_a_command(tmp_path):
    np.savez(tmp_path / "m.npz", a=np.zeros(2), b=np.zeros(3))
    (code,) = re.findall(r"```py\n(.*?)```", TEXT, re.DOTALL)
    module = {"__name__": "surgery.cli.count"}
    exec(compile(code, "count", "exec"), module)
    done = CliRunner().invoke(module["command"], [str(tmp_path / "m.npz")])
    assert done.output == "2\n", done.exception


def test_a_workflow_runs_what_ci_runs():
    assert "- run: .ci/run" in (ROOT / ".github/workflows/tests.yml").read_text()
    assert ".ci/run" in TEXT


def test_the_version_is_the_same_everywhere():
    import surgery

    assert f"version: {surgery.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## {surgery.__version__}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_the_hook_s_command_validates_recipes():
    hook = (ROOT / ".pre-commit-hooks.yaml").read_text()
    entry = re.search(r"entry: surgery (\w+)", hook)[1]
    done = subprocess.run(
        [sys.executable, "-m", "surgery", entry, *(ROOT / "recipes").glob("*.yaml")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_installed_has_the_new_name():
    for path in [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "surgery").rglob("*.py"),
    ]:
        assert not re.search(r"(?<!tf-)surgery\[", path.read_text()), path
