"""A run is skipped only where nothing that it read or wrote has changed: each thing tried."""

import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

import surgery
from surgery.execution import proof
from surgery.execution.quick import seen_as_current
from surgery.execution.seen import read
from surgery.recipe.reading import read_recipe
from tests.conftest import command, dense_model

RECIPE = """surgery: 1
load: {path: part, select: "*/kernel"}
steps:
  - set: {select: a/kernel, npy: new.npy}
  - copy: {from: donor.keras, select: b/kernel}
export: [{npy: out/w}, {npz: out/w.npz}]
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ran")
    surgery.save(surgery.open(dense_model(folder)), npy=folder / "part")
    surgery.save(surgery.scale(surgery.open(dense_model(folder)), "*", by=2),
                 keras=folder / "donor.keras")  # fmt: skip
    np.save(folder / "new.npy", np.arange(12, dtype=np.float32).reshape(4, 3))
    (folder / "r.yaml").write_text(RECIPE)
    assert command("run", folder / "r.yaml").returncode == 0
    return folder


@pytest.fixture(scope="module")
def copies(ran, tmp_path_factory):
    """One for each change, a second old, and known by its times."""
    found = {n: shutil.copytree(ran, tmp_path_factory.mktemp("copy") / "r") for n in CHANGES}
    time.sleep(1.1)
    assert all(is_current(copy) for copy in found.values())
    return found


def is_current(folder):
    return proof.is_current(read_recipe(folder / "r.yaml"), 1)


def is_seen(folder):
    return seen_as_current(folder / "r.yaml", {}, False) is not None


def changed(path):
    """The last byte of a file, in place; its size and its time stay."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(path):
    """Another file in its place, as `rsync -t` and `cp -p` do it."""
    shutil.copy2(path, path.with_name("other"))
    changed(path.with_name("other"))
    os.replace(path.with_name("other"), path)


CHANGES = {
    "input": lambda f: changed(f / "part/a/kernel.npy"),
    "input replaced": lambda f: replaced(f / "part/a/kernel.npy"),
    "input with another file": lambda f: shutil.copy(f / "new.npy", f / "part/a/more.npy"),
    "input with a file less": lambda f: (f / "part/a/bias.npy").unlink(),
    "donor": lambda f: changed(f / "donor.keras"),
    "donor replaced": lambda f: replaced(f / "donor.keras"),
    "npy of set": lambda f: changed(f / "new.npy"),
    "npy of set replaced": lambda f: replaced(f / "new.npy"),
    "npy of set gone": lambda f: (f / "new.npy").unlink(),
    "output": lambda f: changed(f / "out/w.npz"),
    "output gone": lambda f: (f / "out/w.npz").unlink(),
    "output replaced": lambda f: replaced(f / "out/w/b/kernel.npy"),
    "output with another file": lambda f: (f / "out/w/mine.txt").write_text("x"),
}


@pytest.mark.parametrize("known_by_times", [False, True])
@pytest.mark.parametrize("name", CHANGES)
def test_what_has_changed_is_noticed(name, known_by_times, ran, copies, tmp_path):
    folder = copies[name] if known_by_times else shutil.copytree(ran, tmp_path / "r")
    assert is_current(folder)
    assert is_seen(folder) == known_by_times
    CHANGES[name](folder)
    assert not is_seen(folder)
    assert not is_current(folder)
    done = command("verify", folder / "out/r.run.json")
    found = 0 if name == "npy of set gone" else 1  # an input may be gone
    assert (done.returncode, len(problems(done))) == (found, found), done.stdout


@pytest.fixture
def folder(ran, tmp_path):
    return shutil.copytree(ran, tmp_path / "r")


def problems(verified):
    return [line for line in verified.stdout.splitlines() if not line.endswith("as written")]


def test_what_is_the_same_is_not_read_twice(folder):
    """A copy has other times; that its bytes are the same is noted, once all are a second old."""
    path = folder / "out/r.run.json"
    time.sleep(1.1)
    before = path.read_bytes()
    assert is_current(folder)
    noted = path.read_bytes()
    assert noted != before
    assert is_current(folder)
    assert path.read_bytes() == noted
    assert problems(command("verify", path)) == []


def test_what_is_up_to_date_is_told_at_once(ran, tmp_path):
    """Without NumPy, formats and operations; not where there is more to look at."""
    folder = shutil.copytree(ran, tmp_path / "r")
    time.sleep(1.1)
    assert is_current(folder)
    code = (
        "import sys; from surgery.cli.main import cli\n"
        "cli.main(['run', 'r.yaml'], standalone_mode=False)\n"
        "print(sorted({'numpy', 'h5py', 'jsonschema', 'surgery.ops'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "r: up to date by out/r.run.json; --force runs it anyway", "[]"
    ]  # fmt: skip
    text = (folder / "r.yaml").read_text()
    for other in (
        text.replace("a/kernel, npy", "a/kernel , npy"),
        text + "seed: 1\n",
        "- 1\n",
        text + "x: [",
        text.replace("out/w}", "out/v}"),
        "",
        text + "load: part\n",
    ):
        (folder / "r.yaml").write_text(other)  # fmt: skip
        assert is_seen(folder) == ("kernel ," in other)
    (folder / "r.yaml").write_text(text)
    assert is_seen(folder)
    (folder / "out/.w.surgery-1").mkdir()  # of a killed run
    assert not is_seen(folder)


def test_a_part_of_a_file_is_proved_by_the_names_in_it(folder):
    """Of what is selected, whatever it is called in the recipe; the others were not read."""
    for load in (
        "{path: part, map: {a/kernel: first}, select: a/kernel}",
        "{path: donor.keras, select: b}",
        '{path: part, select: "b/*"}',
    ):
        (folder / "r.yaml").write_text(f"surgery: 1\nload: {load}\nexport: [{{npz: o.npz}}]\n")
        assert command("run", folder / "r.yaml").returncode == 0
        assert command("verify", folder / "r.run.json").returncode == 0, load
        assert is_current(folder)
    changed(folder / "part/b/kernel.npy")
    assert problems(command("verify", folder / "r.run.json")) == [
        f"{folder}/part: b/kernel differs"
    ]


def test_a_newer_checkpoint_in_a_folder(folder):
    model = surgery.open(folder / "part")
    for number in (1, 2):
        surgery.save(surgery.scale(model, "*", by=number), checkpoint=folder / f"ck-{number}")
    for file in (folder / "ck-2").glob("ckpt.*"):
        shutil.copy(file, folder / "ck-1" / file.name.replace("ckpt", "ckpt2"))
    (folder / "r.yaml").write_text("surgery: 1\nload: ck-1\nexport: [{npz: o.npz}]\n")
    assert command("run", folder / "r.yaml").returncode == 0
    assert is_current(folder)
    state = folder / "ck-1/checkpoint"
    state.write_text(state.read_text().replace('"ckpt"', '"ckpt2"'))
    assert not is_current(folder)


def test_a_manifest_that_was_edited_proves_nothing(folder):
    path = folder / "out/r.run.json"
    text = path.read_text()
    path.write_text(text.replace('"seed": 0', '"seed": 1'))
    done = command("verify", path)
    assert done.returncode == 1
    assert "its own digest differs, so nothing can be verified" in done.stderr
    assert not is_current(folder)


def test_a_manifest_without_sums_proves_nothing(folder):
    facts = read(folder / "out/r.run.json")
    facts = {**facts, "manifest": 1, "inputs": [], "outputs": [], "files": []}
    (folder / "old.run.json").write_text(json.dumps(facts))
    done = command("verify", folder / "old.run.json")
    assert (done.returncode, "no digests, so nothing can be verified" in done.stdout) == (1, True)


def test_a_manifest_of_version_1(folder):
    """It has no times of change, and no sums of what steps read."""
    facts = read(folder / "out/r.run.json")
    for model in (*facts["inputs"], *facts["outputs"]):
        for file in model["files"]:
            file.pop("ctime_ns"), file.pop("inode")
    files = [{"path": "../new.npy", "bytes": 176, "mtime_ns": 1}]
    old = {name: facts[name] for name in ("key", "inputs", "outputs")}
    path = folder / "out/r.run.json"
    path.write_text(json.dumps({**old, "manifest": 1, "files": files}))
    done = command("verify", path)
    assert done.returncode == 0, done.stdout
    assert f"{folder}/new.npy: not verified: the manifest has no digests of it" in done.stdout
    assert not is_current(folder)
    changed(folder / "out/w.npz")
    assert command("verify", path).returncode == 1


TWO = "surgery: 1\nload: ../donor.keras\nexport: [{{npz: ../both/{}.npz}}]\n"


def test_two_recipes_of_one_name(folder):
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name / "r.yaml").write_text(TWO.format(name))
    first, second = folder / "one/r.yaml", folder / "two/r.yaml"
    done = command("run", first, second)
    assert done.returncode == 2
    assert "are both called r, and would write the same manifest" in done.stderr
    assert "name: in its recipe" in done.stderr
    assert not (folder / "both").exists()
    assert command("run", first).returncode == 0
    done = command("run", second)
    assert done.returncode == 2
    assert f"belongs to {folder}/one/r.yaml; give one of them another name:" in done.stderr
    assert not (folder / "both/two.npz").exists()
    first.rename(folder / "moved.yaml")
    assert command("run", second).returncode == 0
