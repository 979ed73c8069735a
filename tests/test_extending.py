"""The package of docs/extending.md, installed: its words are as good as surgery's own."""

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile

import numpy as np
import pytest

import surgery
from surgery.recipe.definitions import schema_text
from tests.conftest import ROOT, dense_model, values

PAGE = (ROOT / "docs/extending.md").read_text()
FILES = dict(re.findall(r"```(?:py|toml)\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))
(RECIPE,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
TWICE = {"surgery.expectations": {"twice": "surgery_broken:nothing"}}
BROKEN = {
    **TWICE,
    "surgery.ops": {"scale": "surgery_broken:Scale", "norm": "surgery_broken.no:Module"},
    "surgery.data": {"batch_size": "surgery_broken:nothing"},
    "surgery.formats": {"nothing": "surgery_broken:nothing", "bare": "surgery_broken:Bare"},
}


def entry_points(groups):
    return "".join(
        f"[{group}]\n" + "".join(f"{name} = {place}\n" for name, place in names.items())
        for group, names in groups.items()
    )


def metadata(name, version):
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"


def wheel(folder):
    """The example as a wheel, which needs nothing to be built."""
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    about = f"surgery_example-{project['version']}.dist-info"
    path = folder / f"surgery_example-{project['version']}-py3-none-any.whl"
    made = {name: text for name, text in FILES.items() if name.startswith("surgery_example/")}
    made["surgery_example/__init__.py"] = ""
    made[f"{about}/METADATA"] = metadata(project["name"], project["version"])
    made[f"{about}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    made[f"{about}/entry_points.txt"] = entry_points(project["entry-points"])
    made[f"{about}/RECORD"] = "".join(f"{name},,\n" for name in [*made, f"{about}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in made.items():
            archive.writestr(name, text)
    return path


def install(folder, site):
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    options = ["--disable-pip-version-check", "--no-compile", "--upgrade", "--target"]
    subprocess.run([*pip, *options, site, wheel(folder)], check=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder of installed packages: the example, and one that is broken in every way."""
    folder = tmp_path_factory.mktemp("site")
    install(tmp_path_factory.mktemp("wheel"), folder)
    for name, groups in (("broken", BROKEN), ("other", TWICE)):
        about = folder / f"surgery_{name}-2.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(metadata(f"surgery-{name}", "2.0"))
        (about / "entry_points.txt").write_text(entry_points(groups))
    (folder / "surgery_broken.py").write_text(
        "from dataclasses import dataclass\nfrom surgery.formats.base import Format\nnothing = 3\n"
        "@dataclass(frozen=True)\nclass Bare(Format):\n    'A bare one.'\n    name = 'bare'\n"
    )
    return folder


@pytest.fixture
def do(site, tmp_path):
    """Run the command in a folder with a model and the page's recipe."""
    dense_model(tmp_path)
    (tmp_path / "r.yaml").write_text(RECIPE)

    def do(*arguments, code="from surgery.cli.main import main; main()"):
        paths = os.pathsep.join(map(str, (site, ROOT)))
        return subprocess.run(
            [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip

    return do


def test_its_words_in_a_recipe(do, tmp_path):
    done = do("run", "-q", "r.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    before = values(surgery.open(tmp_path / "model.keras"))
    line, _, data = (tmp_path / "out/model.raw").read_bytes().partition(b"\n")
    named = json.loads(line)["raw"]
    wanted = [before[name] * np.float32(0.25 if name[0] == "a" else 1) for name in before]
    assert [(address, tuple(shape)) for address, _, shape in named] == [
        (name, array.shape) for name, array in before.items()
    ]
    assert data == b"".join(array.tobytes() for array in wanted)
    manifest = json.loads((tmp_path / "out/r.run.json").read_text())
    assert manifest["packages"] == {"surgery-example": "1.0"}
    assert "up to date" in do("run", "r.yaml").stdout
    assert do("verify", "out/r.run.json").returncode == 0


def test_another_version_of_it_is_not_up_to_date(do, site, tmp_path):
    assert do("run", "-q", "r.yaml").returncode == 0
    about = site / "surgery_example-1.0.dist-info/METADATA"
    before = about.read_text()
    try:
        about.write_text(before.replace("Version: 1.0", "Version: 1.1"))
        assert "up to date" not in do("run", "r.yaml").stdout
    finally:
        about.write_text(before)
    assert '"surgery-example": "1.1"' in (tmp_path / "out/r.run.json").read_text()


def test_its_format_and_source_are_read(do, tmp_path):
    (tmp_path / "zeros.yaml").write_text(
        "surgery: 1\nload: {zeros: [2, 3]}\nexport: [{raw: zeros.raw}]\n"
    )
    (tmp_path / "back.yaml").write_text(
        "surgery: 1\nload: zeros.raw\nsteps: [{shift: {select: '**', by: 1}}]\n"
        "export: [{npz: back.npz}]\n"
    )
    assert do("run", "-q", "zeros.yaml", "back.yaml").stderr == ""
    assert np.load(tmp_path / "back.npz")["zeros/kernel"].tolist() == [[1] * 3] * 2
    manifest = json.loads((tmp_path / "back.run.json").read_text())
    assert manifest["packages"] == {"surgery-example": "1.0"}
    assert do("count", "zeros.raw").stdout == "1\n"


def test_what_it_adds_is_listed(do, tmp_path):
    listed = do("ops").stdout
    for word in ("halve", "raw", "lower_case", "ones", "zeros"):
        assert re.search(rf"^  {word} ", listed, re.M)
    assert "times" in do("ops", "halve").stdout
    example = "- evaluate: {data: {ones: 8, width: 4}, loss: mse}"
    (tmp_path / "r.yaml").write_text(RECIPE.replace("steps:", f"steps:\n  {example}"))
    assert do("validate", "r.yaml").stdout == "r.yaml: valid\n"
    (tmp_path / "r.yaml").write_text(RECIPE.replace("times: 2", "time: 2"))
    assert "unknown key 'time' (did you mean 'times'?)" in do("validate", "r.yaml").stderr


def test_the_checked_in_schema_has_surgery_s_own_words_only(do, site, tmp_path):
    places = [site / f"surgery_{n}-2.0.dist-info/entry_points.txt" for n in ("broken", "other")]
    assert do("schema", "--write", "s.json").returncode == 1
    assert not (tmp_path / "s.json").exists()
    before = [place.read_text() for place in places]
    try:
        for place in places:
            place.write_text("")
        assert do("schema", "--write", "s.json").stdout == "wrote s.json\n"
    finally:
        for place, text in zip(places, before, strict=True):
            place.write_text(text)
    written = json.loads((tmp_path / "s.json").read_text())
    assert "halve" in written["properties"]["steps"]["items"]["properties"]
    assert "raw" in written["properties"]["export"]["items"]["properties"]
    assert "ones" in written["$defs"]["Data"]["properties"]
    assert "halve" not in schema_text()


def test_in_python(do):
    done = do(code="import surgery; m = surgery.open('model.keras'); "
              "print((surgery.halve(m, 'a').weights[0].tensor.numpy() * 2 "
              "== m.weights[0].tensor.numpy()).all())")  # fmt: skip
    assert done.stdout == "True\n", done.stderr


LOADED = """
import sys
from surgery.cli.main import cli
cli.main(sys.argv[1:], standalone_mode=False)
print(sorted(name for name in sys.modules if name.startswith("surgery_")))
"""


@pytest.mark.parametrize(
    ("step", "imported"),
    [
        ("scale: {select: a, by: 2}", []),
        ("halve: {select: a}", ["surgery_example", "surgery_example.halve"]),
    ],
)
def test_only_what_a_recipe_names_is_imported(step, imported, do, tmp_path):
    (tmp_path / "r.yaml").write_text(
        f"surgery: 1\nload: model.keras\nsteps: [{{{step}}}]\nexport: [{{npz: out.npz}}]\n"
    )
    done = do("validate", "r.yaml", code=LOADED)
    assert done.stdout == f"r.yaml: valid\n{imported}\n", done.stderr


def test_a_broken_package_is_named_where_its_word_is_used(do, tmp_path):
    (tmp_path / "r.yaml").write_text(RECIPE.replace("- halve", "- norm"))
    done = do("run", "r.yaml")
    assert done.returncode == 2
    assert re.fullmatch(
        r"r.yaml:4:5: steps\[0\].norm: the package surgery-broken 2.0 "
        r"\(ops: norm = surgery_broken.no:Module\) "
        r"cannot be imported: ModuleNotFoundError: .*; fix or uninstall it\n", done.stderr,
    )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_all_that_is_broken_is_told_by_ops(do):
    done = do("ops")
    assert done.returncode == 1
    assert [re.findall(r"\((\w+: \w+) =", line) for line in done.stderr.splitlines()] == [
        ["ops: scale"], ["ops: norm"], ["formats: bare"], ["formats: nothing"],
        ["expectations: twice"], ["data: batch_size"], ["data: batch_size"],
    ]  # fmt: skip
    assert "has the name of surgery's own 'scale'" in done.stderr
    assert "Bare is not a dataclass, or lacks a method" in done.stderr
    assert "has a name that surgery-other has too" in done.stderr
    assert do("ops", "scale").returncode == 0


def test_its_own_tests_pass_and_find_faults(do, tmp_path):
    text = FILES["tests/test_example.py"]
    (tmp_path / "test_right.py").write_text(text)
    (tmp_path / "test_wrong.py").write_text(text.replace("0.5)", "0.6)"))
    pytest_main = "import sys, pytest; sys.exit(pytest.main(['-q', *sys.argv[1:]]))"
    assert do("test_right.py", code=pytest_main).returncode == 0
    assert "1 failed, 1 passed" in do("test_wrong.py", code=pytest_main).stdout
