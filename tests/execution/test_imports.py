"""Who may import whom, and what is not imported where it is not needed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import surgery
from surgery.testing.structure import graph_model
from tests.conftest import ROOT, dense_model

ORDER = [
    {"errors", "version"},
    {"storage"},
    {"architecture"},
    {"weights"},
    {"structure"},
    {"declared"},
    {"live"},
    {"ops", "expectations", "formats", "data"},
    {"recipe"},
    {"execution"},
    {"sweeps"},
    {"report"},
    {"cli"},
    {"testing"},
]
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}
OUTSIDE = {"__init__", "__main__", "api"}  # the outside of it all


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


SOURCES = sorted((ROOT / "surgery").rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_downward_only(path):
    room = path.relative_to(ROOT / "surgery").parts[0].removesuffix(".py")
    for module in imports(path):
        parts = module.split(".")
        if parts[0] in ("keras", "tensorflow"):
            assert room == "live", f"{path} imports {module}"
        if room == "api":
            assert parts[:2] != ["surgery", "cli"], f"{path} imports {module}"
        if parts[0] != "surgery" or room in OUTSIDE:
            continue
        assert parts[1:], f"{path} imports surgery, whose functions are above all rooms"
        other = parts[1]
        assert LEVEL[other] <= LEVEL[room], f"{path} imports {module}"
        if LEVEL[other] == LEVEL[room]:
            assert other == room, f"{path} imports {module}"
        if parts[1:3] == ["storage", "remote"]:
            assert room == "storage", f"{path} imports {module}"
        if other != room:
            private = [p for p in parts if p.startswith("_") and not p.endswith("__")]
            assert not private, f"{path} imports {module}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_formats_know_how_a_file_is_laid_out(path):
    """Other rooms ask a model's `format_facts` for what all formats have, and compare no names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Compare):
            asked = [node.left, *node.comparators]
            assert not [a for a in asked if isinstance(a, ast.Attribute) and a.attr == "format"]
        if path.is_relative_to(ROOT / "surgery/formats") or not isinstance(node, ast.Attribute):
            continue
        if isinstance(node.value, ast.Attribute) and node.value.attr == "format_facts":
            assert node.attr in ("renamed", "edits_in_place"), f"{path}: {ast.unparse(node)}"


def modules_after(code, cwd):
    script = f"import sys\n{code}\nprint(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=cwd, check=True
    )
    return set(done.stdout.splitlines())


RUN = """
import contextlib, io
from surgery.cli.main import cli
with contextlib.redirect_stdout(io.StringIO()):
    cli.main({arguments!r}, standalone_mode=False)
"""
HEAVY = {"tensorflow", "keras", "jax", "torch", "google.protobuf"}


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (["--help"], HEAVY | {"numpy", "h5py", "yaml", "rich", "jsonschema"}),
        (["run", "--help"], HEAVY | {"numpy", "h5py", "yaml", "rich", "jsonschema"}),
        (["run", "--help"], {"surgery.cli.sweep", "surgery.cli.inspect", "surgery.declared"}),
        (["validate", "r.yaml"], HEAVY | {"rich"}),
        (["validate", "app.yaml"], HEAVY | {"rich"}),
        (["inspect", "m.keras", "--stats", "--hash"], HEAVY | {"yaml", "jsonschema"}),
        (["plan", "r.yaml"], HEAVY),
        (["run", "r.yaml"], HEAVY),
        (["schema"], HEAVY),
        (["ops", "zero"], HEAVY),
    ],
    ids=lambda v: "-".join(v) if isinstance(v, list) else "",
)
def test_what_a_command_does_not_import(arguments, absent, tmp_path):
    dense_model(tmp_path, "m.keras")
    (tmp_path / "r.yaml").write_text(
        "surgery: 1\nload: {path: m.keras}\nsteps:\n"
        "  - scale: {select: a, by: 2}\n  - freeze: {select: b}\n"
        "export: [{keras: out.keras}, {h5: out.h5}, {npy: out}]\n"
    )
    (tmp_path / "app.yaml").write_text(
        "surgery: 1\nload: {application: VGG16, weights: none}\nexport: [{npy: out}]\n"
    )
    found = modules_after(RUN.format(arguments=arguments), tmp_path)
    assert not found & absent
    assert "surgery.cli.main" in found


STRUCTURE = """\
surgery: 1
load: graph.keras
steps:
  - remove: {select: drop}
  - flatten: {select: encoder}
  - fold_batchnorm: {verify: false}
  - factorize: {select: encoder_deep, rank: 2}
  - prefix: {with: t_}
  - extract: {at: t_out}
export:
  - keras: out.keras
"""


def test_steps_that_change_layers_import_no_keras(tmp_path):
    surgery.save(graph_model(), keras=tmp_path / "graph.keras")
    (tmp_path / "r.yaml").write_text(STRUCTURE)
    found = modules_after(RUN.format(arguments=["run", "r.yaml"]), tmp_path)
    assert found & HEAVY == set()
    assert (tmp_path / "out.keras").is_file()
    merged = (
        "import surgery\nfrom surgery.testing.structure import graph_model, with_lora\n"
        "surgery.lora_merge(with_lora(graph_model()), '**')"
    )
    assert not modules_after(merged, tmp_path) & HEAVY


LOOKED_UP = """
from surgery.declared.registry import plugins
print(plugins.cache_info().misses, "look-ups")
"""


@pytest.mark.parametrize(("word", "count"), [("scale", 0), ("scael", 3)])
def test_packages_are_looked_for_only_where_a_word_is_unknown(word, count, tmp_path):
    (tmp_path / "r.yaml").write_text(
        "surgery: 1\nparams: {by: 2}\nload: m.keras\n"
        f"steps: [{{{word}: {{select: a, by: '${{by}}'}}}}]\nexport: [{{npz: out.npz}}]\n"
    )
    code = RUN.format(arguments=["validate", "r.yaml"]).replace(
        "    cli.main", "    with contextlib.suppress(Exception): cli.main"
    )
    found = modules_after(code + LOOKED_UP, tmp_path)
    assert f"{count} look-ups" in found


def test_every_command_has_the_name_of_its_file():
    from surgery.cli.main import cli

    files = {path.stem for path in (ROOT / "surgery/cli").glob("[a-z]*.py")} - {"main"}
    names = cli.list_commands(None)
    assert set(names) == files
    assert [cli.get_command(None, name).name for name in names] == names


def test_importing_surgery_imports_next_to_nothing():
    assert not modules_after("import surgery", Path.cwd()) & (HEAVY | {"numpy", "h5py", "click"})
