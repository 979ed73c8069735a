"""The sample recipes: listed, copied, and installed with the package."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT, command

NAMES = sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml"))


def test_the_list_has_all_with_what_they_do(tmp_path):
    shown = command("init", cwd=tmp_path).stdout
    assert [line.split()[0] for line in shown.splitlines() if line[2:3].strip()][:-1] == NAMES
    assert "  digits-finetune  Train the pruned CNN again, and keep the" in shown
    assert all(len(line) < 80 for line in shown.splitlines())
    assert not list(tmp_path.iterdir())


def test_every_sample_is_valid_where_it_is_copied(tmp_path):
    done = command("init", *NAMES, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "recipes/data/README.md").exists()  # which says whose data it is
    assert (tmp_path / "schemas/recipe.schema.json").exists()
    done = command("validate", *(f"recipes/{name}.yaml" for name in NAMES), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert command("init", NAMES[0], cwd=tmp_path).returncode == 0  # again: all is there


def test_what_is_there_is_never_written_over(tmp_path):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/tame.yaml").write_text("mine")
    done = command("init", "convert", "tame", cwd=tmp_path)
    assert done.returncode == 2
    assert "recipes/tame.yaml exists already with other contents" in done.stderr
    assert not (tmp_path / "recipes/convert.yaml").exists()
    done = command("init", "digits-trian", cwd=tmp_path)
    assert "there is no recipe 'digits-trian' (did you mean 'digits-train'?)" in done.stderr


BUILD = """
import sys
from setuptools import find_packages
from setuptools._distutils.core import run_setup
made = run_setup("setup.py", stop_after="init")
made.packages = find_packages(include=["surgery*"])
command = made.get_command_obj("build_py")
command.build_lib = sys.argv[1]
command.ensure_finalized()
command.run()
"""
"""What pip has setuptools do, but for metadata."""


def test_they_are_installed_with_the_package(tmp_path):
    pytest.importorskip("setuptools", reason="no setuptools here to build the package with")
    built = tmp_path / "built"
    subprocess.run([sys.executable, "-c", BUILD, built], cwd=ROOT, check=True, capture_output=True)
    assert sorted(path.stem for path in (built / "surgery/samples").glob("*.yaml")) == NAMES
    done = subprocess.run([sys.executable, "-m", "surgery", "init", "digits-train"], cwd=built,
                          check=True, capture_output=True, text=True)  # fmt: skip
    assert "wrote recipes/data/digits.npz" in done.stdout
