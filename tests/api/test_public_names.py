"""The names of the package: what `dir` shows, what editors know, what no module hides."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import surgery
from surgery.ops.base import ops
from tests.conftest import ROOT, dense_model

FUNCTIONS = ["convert", "diff", "inspect", "open", "plan", "run", "save", "sweep"]

# Every submodule is imported first: one of a function's name would take its place.
ALL_FIRST = """
import importlib, pkgutil, surgery
for info in pkgutil.walk_packages(surgery.__path__, "surgery."):
    if not info.name.endswith("__main__"):
        importlib.import_module(info.name)
model = surgery.open("m.keras")
surgery.save(surgery.scale(model, "a", by=2), "scaled.keras")
assert not surgery.diff("m.keras", "scaled.keras").is_none
assert len(surgery.inspect("scaled.keras")["weights"]) == 4
assert surgery.convert("m.keras", "m.npz").outputs[0].format == "npz"
assert len(surgery.plan("r.yaml", by=3).steps) == 1
assert surgery.run("r.yaml", by=3).manifest.is_file()
assert [row["state"] for row in surgery.sweep("s.yaml", jobs=1).rows] == ["done", "done"]
"""
RECIPE = """surgery: 1
params: {by: 2}
load: m.keras
steps: [{scale: {select: a, by: "${by}"}}]
"""


def test_no_module_hides_a_function(tmp_path):
    dense_model(tmp_path, "m.keras")
    (tmp_path / "r.yaml").write_text(f"{RECIPE}export: [{{npz: r.npz}}]\n")
    matrix = 'matrix: {by: [2, 3]}\nexport: [{npz: "s-${by}.npz"}]\n'
    (tmp_path / "s.yaml").write_text(RECIPE.replace("params: {by: 2}\n", "") + matrix)
    done = subprocess.run(
        [sys.executable, "-c", ALL_FIRST], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_no_room_has_the_name_of_a_function_or_an_op():
    rooms = {path.stem for path in (ROOT / "surgery").iterdir()}
    assert not rooms & {*FUNCTIONS, *ops()}


def test_dir_shows_every_function_and_op():
    assert {*FUNCTIONS, *ops(), "Model", "Weight", "SurgeryError", "__version__"} <= {*dir(surgery)}
    assert all(getattr(surgery, name) is not None for name in dir(surgery))


@pytest.mark.parametrize(
    ("op", "signature"),
    [
        ("scale", "(model, select, *, by, allow_empty=False, slice=Ellipsis, seed=0)"),
        ("average", "(model, select='**', *, from_, allow_empty=False, weights=Ellipsis, "
                    "decay=Ellipsis, seed=0)"),
        ("predict", "(model, *, data, export=Ellipsis, batch_size=32, seed=0, progress=False, "
                    "allow_code=False)"),
    ],
)  # fmt: skip
def test_an_op_has_a_signature(op, signature):
    assert str(inspect.signature(getattr(surgery, op))) == signature


USE = """
import surgery
model = surgery.open("m.keras")
changed = surgery.scale(model, "a", by=2)
changed.save("out.keras")
surgery.set(changed, "a/kernel", to=[[1.0]])
surgery.save(changed, "x.keras", safetensors={"path": "x", "shard": "2GB"})
print(surgery.run("r.yaml", {"by": 2}, threads=1).metrics, surgery.evaluate(changed, data="d.npz"))
"""
WRONG = """
import surgery
model = surgery.open("m.keras")
surgery.scale(model, "a", by="two")
surgery.scale(model, "a", factor=2)
surgery.zero(model, "a", norm="l3")
surgery.save(model, kears="x")
"""


def test_mypy_knows_every_op_s_keys(tmp_path):
    (tmp_path / "use.py").write_text(USE)
    (tmp_path / "wrong.py").write_text(WRONG)
    # Only the stub file and what it names are looked into, not what those import.
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent",
         f"--cache-dir={ROOT / '.mypy_cache'}", "use.py", "wrong.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"MYPYPATH": str(ROOT), "PATH": ""},
    )  # fmt: skip
    lines = [line.partition(": error")[0] for line in done.stdout.splitlines() if "error" in line]
    assert lines[:-1] == [f"wrong.py:{number}" for number in (4, 5, 6, 7)], done.stdout


def test_typed_is_marked():
    assert Path(surgery.__file__).with_name("py.typed").is_file()
