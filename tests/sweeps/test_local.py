"""A sweep on this machine: planned first, done once, gone on with after anything."""

import errno
import json
import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import surgery
from surgery.execution import seen
from surgery.recipe.reading import RecipeFile
from surgery.storage.cache import Cached
from surgery.sweeps import shared_steps
from surgery.sweeps.folder import SweepFolder
from surgery.sweeps.shared_steps import SharedSteps
from tests.conftest import command, dense_model, same_bytes, values
from tests.sweeps.conftest import RECIPE, begin, log_of, outputs, started, wait_for

ALL = [f"{by}-{lowest}" for by in (1, 2, 3) for lowest in ("10%", "50%")]


def test_every_run_is_done_once(sweep, tmp_path):
    done = command("sweep", sweep, "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "6 runs: 6 done"
    assert len(done.stderr.splitlines()) == 6
    for name in ALL:
        by, lowest = name.split("-")
        expected = surgery.open(tmp_path / "model.keras")
        expected = surgery.scale(expected, "a", by=int(by))
        expected = surgery.zero(expected, "a/kernel", lowest=lowest)
        assert same_bytes(surgery.open(tmp_path / "out" / name / "model.keras"), expected)
        (manifest,) = (tmp_path / "out" / name).glob("prune-*.run.json")
        assert command("verify", manifest).returncode == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.keras")}
    again = command("sweep", sweep)
    assert again.returncode == 0
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.keras")}
    assert all(started(tmp_path / "recipe.sweep", index) == 1 for index in range(6))


def test_the_table(sweep, tmp_path):
    command("sweep", sweep, "-q")
    folder = tmp_path / "recipe.sweep"
    rows = json.loads(command("sweep", "table", folder, "--json").stdout)
    assert [row["by"] for row in rows] == [1, 1, 2, 2, 3, 3]
    assert [row["sparsity"] for row in rows] == [1 / 15, 6 / 15] * 3
    assert all(row["bytes"] > 1000 and row["state"] == "done" for row in rows)
    lines = command("sweep", "table", folder, "--csv", "--sort", "lowest").stdout.splitlines()
    assert lines[0] == "run,by,lowest,state,sparsity,bytes,seconds"
    assert [line.split(",")[2] for line in lines[1:]] == ["10%"] * 3 + ["50%"] * 3
    text = command("sweep", "table", folder).stdout.splitlines()
    assert text[0].split() == ["run", "by", "lowest", "state", "sparsity", "bytes", "seconds"]
    wrong = command("sweep", "table", folder, "--sort", "lowst")
    assert wrong.returncode == 2
    assert "there is no column 'lowst' (did you mean 'lowest'?)" in wrong.stderr
    made = [command("sweep", "plot", folder, "--x", "lowest", "--y", "sparsity", "--by", "by",
                    "-o", tmp_path / name) for name in ("a.png", "b.svg", "c.svg")]  # fmt: skip
    assert [each.returncode for each in made] == [0, 0, 0]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "b.svg").read_bytes() == (tmp_path / "c.svg").read_bytes()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("out/${by}-${lowest}/model.keras", "out/${by}.keras",
         'export[0].keras: runs 0 (by=1, lowest=10%) and 1 (by=1, lowest=50%) would both write'),
        ("out/${by}-${lowest}/model.npz", "out/${by}-${lowest}/model.keras/${by}.npz",
         "contain one another"),
        ("load: model.keras", "load: out/1-10%/model.keras", "no such file or folder"),
        ("select: a,", 'select: "x${by}",', "x3"),
        ("[10%, 50%]", "[10%, x]", "'x' is not a share; write 10% or 0.1 (run 1: by=1, lowest=x, "
                                   "and 2 more of 6)"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_before_the_first_run(old, new, said, sweep, tmp_path):
    sweep.write_text(sweep.read_text().replace(old, new))
    done = command("sweep", sweep)
    assert done.returncode in (1, 2), done.stdout
    assert said in done.stderr
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "recipe.sweep").exists()


def test_no_run_writes_into_what_another_writes(small, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        'surgery: 1\nload: model.keras\nmatrix: {to: [x/y, x]}\nexport: [{npy: "out/${to}"}]\n'
    )
    done = command("sweep", path)
    assert done.returncode == 2
    assert "runs 0 (to=x/y) and 1 (to=x) would write one into the other's" in done.stderr
    assert "put ${to} into the path" in done.stderr


def test_no_run_reads_what_another_writes(sweep, tmp_path):
    (tmp_path / "out/1-10%").mkdir(parents=True)
    dense_model(tmp_path / "out/1-10%")
    sweep.write_text(sweep.read_text().replace("load: model.keras", "load: out/1-10%/model.keras"))
    done = command("sweep", sweep)
    assert done.returncode == 2
    assert "is an input of this recipe, which is never written to" in done.stderr or (
        "depend on each other: one writes" in done.stderr
    )


def test_a_run_that_fails_fails_alone(sweep, tmp_path):
    limit = "expect:\n  - sparsity: {select: a/kernel, at_most: 20%}\nexport:"
    sweep.write_text(sweep.read_text().replace("export:", limit))
    done = command("sweep", sweep)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0] == "6 runs: 3 done, 3 failed"
    assert lines[1].startswith("failed: run 1 (by=1, lowest=50%) and 2 more: ")
    assert "expect[0]" in lines[1]
    folder = tmp_path / "recipe.sweep"
    assert lines[2] == f"  its log: {log_of(folder, 1)}"
    assert lines[3].startswith("3 runs failed because of the recipe: change it")
    assert command("sweep", sweep).stdout.splitlines()[0] == lines[0]
    assert started(folder, 1) == 1  # it would end the same
    assert command("sweep", "retry", folder).returncode == 1
    assert started(folder, 1) == 2
    sweep.write_text(sweep.read_text().replace("at_most: 20%", "at_most: 60%"))
    assert command("sweep", sweep).stdout.splitlines()[0] == "6 runs: 6 done"


def test_what_failed_for_its_inputs_is_tried_again_when_they_change(sweep, tmp_path):
    """Not before; what is not the recipe's fault is tried again every time."""
    text = sweep.read_text()
    sweep.write_text(text.replace("steps:", "steps:\n  - set: {select: a/bias, npy: new.npy}"))
    folder = SweepFolder(tmp_path / "recipe.sweep")

    def run():
        code = command("run", sweep, "--index", "1").returncode
        return code, folder.record(folder.runs()[1].id).ended

    first = run()
    assert first[0] == 2
    assert run() == first
    np.save(tmp_path / "new.npy", np.ones(3, np.float32))
    assert run()[0] == 0
    (tmp_path / "model.keras").write_bytes(b"no model")
    first = run()
    assert first[0] == 1
    assert run()[1] > first[1]


def specials(tmp_path, slow, name="slow-1"):
    """The recipe with a run whose model comes slowly."""
    urls = ", ".join(f'"{slow.url(each)}"' for each in ("quick-1", name, "quick-2"))
    text = RECIPE.format(load='"${model}"').replace("  by: [1, 2, 3]", f"  model: [{urls}]")
    text = text.replace('by: "${by}"', "by: 2").replace("${by}", "${index}")
    path = tmp_path / "recipe.yaml"
    path.write_text(text.replace("  lowest: [10%, 50%]", "  lowest: [10%]"))
    return path


def holder(folder):
    """The process that does the run with the slow model."""
    (claim,) = folder.glob("runs/*.claim-*")
    return json.loads(claim.read_text())["pid"]


def test_a_killed_run_fails_alone_and_is_tried_again(tmp_path, slow):
    path, folder = specials(tmp_path, slow), tmp_path / "recipe.sweep"
    process = begin("sweep", path, "--jobs", "2")
    wait_for(lambda: slow.gets["/slow-1"] == 2 and len(list(folder.glob("runs/*.json"))) == 2)
    status = command("sweep", "status", folder).stdout
    assert status.splitlines()[0] == "3 runs: 2 done, 1 running"
    os.kill(holder(folder), signal.SIGKILL)
    text, _ = process.communicate(timeout=200)
    assert process.returncode == 1
    assert "3 runs: 2 done, 1 killed" in text
    assert "killed by SIGKILL, perhaps because memory ran out" in text
    done = command("sweep", "retry", folder)
    assert done.stdout.splitlines()[0] == "3 runs: 3 done"
    assert [started(folder, index) for index in range(3)] == [1, 1, 1]


def test_cancel_and_go_on(tmp_path, slow):
    path, folder = specials(tmp_path, slow), tmp_path / "recipe.sweep"
    process = begin("sweep", path, "--jobs", "1")
    wait_for(lambda: slow.gets["/slow-1"] == 2)
    done = command("sweep", "cancel", folder)
    assert done.stdout.startswith("cancelled; 1 process ended here")
    process.communicate(timeout=200)
    assert command("sweep", "status", folder).stdout.splitlines()[0] == "3 runs: 2 waiting, 1 done"
    assert command("sweep", "retry", folder).stdout.splitlines()[0] == "3 runs: 3 done"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_it_cleanly(number, code, tmp_path, slow):
    path, folder = specials(tmp_path, slow), tmp_path / "recipe.sweep"
    process = begin("sweep", path, "--jobs", "1")
    wait_for(lambda: slow.gets["/slow-1"] == 2)
    os.killpg(process.pid, number)  # as a terminal does
    text, _ = process.communicate(timeout=200)
    assert process.returncode == code
    assert "stopped; 1 of 3 runs have ended, and the same command goes on" in text
    assert not list(folder.glob("runs/*claim*"))
    assert command("sweep", path).stdout.splitlines()[0] == "3 runs: 3 done"


def test_two_sweeps_at_once_share_the_work(sweep, tmp_path):
    text = sweep.read_text().replace("[1, 2, 3]", str(list(range(12))))
    sweep.write_text(text)
    both = [begin("sweep", sweep, "--jobs", "2") for _ in range(2)]
    for process in both:
        text, _ = process.communicate(timeout=280)
        assert process.returncode == 0, text
        assert "24 runs: 24 done" in text
    folder = tmp_path / "recipe.sweep"
    assert [started(folder, index) for index in range(24)] == [1] * 24
    assert not list(folder.glob("runs/*claim*"))


def done_at(folder):
    """When each run that is done was done."""
    files = [path for path in folder.glob("runs/*.json") if '"state": "done"' in path.read_text()]
    return {path.name: path.stat().st_mtime_ns for path in files}


def test_killed_at_any_moment_it_goes_on(sweep, tmp_path):
    text = sweep.read_text().replace("[1, 2, 3]", str(list(range(10))))
    sweep.write_text(text)
    folder, random_ = tmp_path / "recipe.sweep", random.Random(7)
    for _ in range(20):
        process = begin("sweep", sweep, "--jobs", "2")
        time.sleep(random_.uniform(0.3, 1.3))
        finished = done_at(folder)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        now = done_at(folder)
        assert finished.items() <= now.items()  # nothing that was done is done again
        if len(now) == 20:
            for path in list(folder.glob("runs/*.json"))[::3]:
                path.unlink()  # as if it had not come so far
    done = command("sweep", sweep)
    assert done.stdout.splitlines()[0] == "20 runs: 20 done"
    for manifest in (tmp_path / "out").rglob("*.run.json"):
        assert command("verify", manifest).returncode == 0
    assert not list((tmp_path / "out").rglob(".*"))  # no litter


@pytest.mark.parametrize(
    ("variable", "value", "index"),
    [
        ("SLURM_ARRAY_TASK_ID", "3", 3),
        ("JOB_COMPLETION_INDEX", "0", 0),
        ("PBS_ARRAY_INDEX", "5", 5),
        ("LSB_JOBINDEX", "6", 5),  # which counts from 1
    ],
)
def test_a_run_by_the_index_of_any_engine(variable, value, index, sweep, tmp_path):
    done = command("run", sweep, **{variable: value})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"run {index} (by=")
    assert len(list((tmp_path / "recipe.sweep/runs").glob("*.json"))) == 1
    made = outputs(tmp_path / "out")
    assert list(made) == [f"{ALL[index]}/model.keras", f"{ALL[index]}/model.npz"]
    before = (tmp_path / "out" / ALL[index] / "model.npz").stat().st_mtime_ns
    assert command("run", sweep, "--index", index).returncode == 0  # idempotent
    assert (tmp_path / "out" / ALL[index] / "model.npz").stat().st_mtime_ns == before
    assert command("sweep", sweep).stdout.splitlines()[0] == "6 runs: 6 done"
    assert (tmp_path / "out" / ALL[index] / "model.npz").stat().st_mtime_ns == before


def test_a_matrix_needs_a_sweep_or_an_index(sweep):
    done = command("run", sweep)
    assert done.returncode == 2
    assert "a matrix of 6 runs: surgery sweep does all of them, --index N one" in done.stderr
    assert command("run", sweep, "--index", "6").returncode == 2
    plan = command("plan", sweep, "--index", "5")
    assert plan.returncode == 0
    assert "prune-" in plan.stdout
    assert command("validate", sweep).stdout.strip().endswith("valid, 6 runs")


def test_a_verified_step_is_shared_as_a_training_is(tmp_path):
    """Each has a call of its own in the process with Keras, which the memo counts."""
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"surgery: 1\nload: {dense_model(tmp_path)}\nmatrix: {{lowest: [20%, 50%]}}\nsteps:\n"
        "  - deepen: {after: a, name: more}\n"
        "  - train: {data: {npz: d.npz, x: x, y: y}, epochs: 1, loss: mse, optimizer: sgd}\n"
        '  - zero: {select: "*/kernel", lowest: "${lowest}"}\nexport:\n  - keras: o.keras\n'
    )
    np.savez(tmp_path / "d.npz", x=np.ones((2, 4)), y=np.ones((2, 2)))
    file = RecipeFile.read(path)
    assert {len(list(SharedSteps(file)._keys(each, 1))) for each in file.all()} == {2}


def test_what_several_runs_begin_with_is_done_once(tmp_path, digits_cnn):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "surgery: 1\nseed: 3\n"
        f"load: {{config: {digits_cnn}/digits-cnn.json}}\n"
        "matrix: {lowest: [20%, 50%, 80%]}\n"
        "steps:\n"
        f"  - train: {{data: {{npz: {digits_cnn}/digits.npz, x: x_test, y: y_test}}, epochs: 2,\n"
        "      loss: sparse_categorical_crossentropy, metrics: [accuracy]}\n"
        '  - zero: {select: "*/kernel", lowest: "${lowest}"}\n'
        f"  - evaluate: {{data: {{npz: {digits_cnn}/digits.npz, x: x_test, y: y_test}},\n"
        "      loss: sparse_categorical_crossentropy, metrics: [accuracy]}\n"
        'export: [{keras: "${out}/${lowest}.keras"}]\nparams: {out: out}\n'
    )
    done = command("sweep", path, "--jobs", "2", imported=["keras"])
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "recipe.sweep"
    logs = [log_of(folder, index).read_text() for index in range(3)]
    assert sum("epoch" in log for log in logs) == 1
    entries = json.loads(command("cache", "--json").stdout)["entries"]
    (entry,) = [each for each in entries if "/steps/" in each["path"]]
    file = RecipeFile.read(path)
    assert {SharedSteps(file).first(each, threads=1) for each in file.all()} == {
        Path(entry["path"]).name
    }
    rows = json.loads(command("sweep", "table", folder, "--json").stdout)
    assert all(0 < row["accuracy"] <= 1 for row in rows)
    assert "* the best accuracy" in command("sweep", "table", folder).stdout
    alone = command("run", path, "--index", "2", "-p", f"out={tmp_path / 'alone'}",
                    "--dir", tmp_path / "alone.sweep", imported=["keras"],
                    XDG_CACHE_HOME=str(tmp_path / "none"))  # fmt: skip
    assert alone.returncode == 0, alone.stderr
    assert (tmp_path / "alone/80%.keras").read_bytes() == (tmp_path / "out/80%.keras").read_bytes()
    assert command("cache", "prune").stdout.startswith("removed ")
    assert json.loads(command("cache", "--json").stdout)["entries"] == []


@pytest.fixture
def digits_cnn():
    from tests.conftest import ROOT

    return ROOT / "recipes" / "data"


def test_a_folder_that_another_one_begins_that_moment_is_no_foreign_one(sweep, tmp_path):
    folder = tmp_path / "recipe.sweep"
    (folder / "runs").mkdir(parents=True)
    (folder / ".sweep.json.0123").touch()
    assert command("sweep", sweep, "-q").returncode == 0


def test_a_folder_of_another_sweep_is_left_alone(sweep, tmp_path):
    assert command("sweep", sweep, "--dir", tmp_path / "s", "-q").returncode == 0
    other = tmp_path / "other.yaml"
    other.write_text(sweep.read_text())
    done = command("sweep", other, "--dir", tmp_path / "s")
    assert done.returncode == 2
    assert "is the sweep of" in done.stderr
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").touch()
    done = command("sweep", other, "--dir", tmp_path / "mine")
    assert done.returncode == 2
    assert "is not the folder of a sweep" in done.stderr
    assert command("sweep", "status", tmp_path / "none").returncode == 2


def test_damaged_records_are_as_none(sweep, tmp_path):
    command("sweep", sweep, "-q")
    folder = tmp_path / "recipe.sweep"
    for number, path in enumerate(sorted(folder.glob("runs/*.json"))):
        path.write_bytes([b"", b"{", b"[]", b'{"id": 1}', b"\xff", b"null"][number])
    assert "6 waiting" in command("sweep", "status", folder).stdout
    assert command("sweep", sweep).stdout.splitlines()[0] == "6 runs: 6 done"
    assert [started(folder, index) for index in range(6)] == [1] * 6  # the manifests know
    rows = json.loads(command("sweep", "table", folder, "--json").stdout)
    assert [row["sparsity"] for row in rows] == [1 / 15, 6 / 15] * 3


def test_the_runs_go_by_the_recipe_as_it_was(tmp_path, slow):
    path, folder = specials(tmp_path, slow), tmp_path / "recipe.sweep"
    process = begin("sweep", path, "--jobs", "1")
    wait_for(lambda: slow.gets["/slow-1"] == 2)
    text = path.read_text()
    path.write_text(text.replace("quick-2", "quick-3").replace("10%", "50%"))
    os.kill(holder(folder), signal.SIGKILL)  # what comes next reads the recipe again
    said, _ = process.communicate(timeout=200)
    assert "3 runs: 2 done, 1 killed" in said
    assert "/quick-3" not in slow.gets
    again = command("sweep", path)
    assert again.stdout.splitlines()[0] == "3 runs: 3 done"
    assert slow.gets["/quick-3"] == 2


def test_a_changed_input_is_done_again(sweep, tmp_path):
    command("sweep", sweep, "-q")
    model = surgery.scale(surgery.open(tmp_path / "model.keras"), "b", by=3)
    surgery.save(model, keras=tmp_path / "new.keras")
    (tmp_path / "new.keras").replace(tmp_path / "model.keras")
    assert command("sweep", sweep, "-q").returncode == 0
    assert started(tmp_path / "recipe.sweep", 0) == 2
    expected = values(surgery.open(tmp_path / "model.keras"))["b/kernel"]
    assert (values(surgery.open(tmp_path / "out/1-10%/model.keras"))["b/kernel"] == expected).all()


def test_what_is_done_before_is_told(sweep, tmp_path):
    folder = tmp_path / "recipe.sweep"
    command("sweep", sweep)
    sweep.write_text(sweep.read_text().replace("[1, 2, 3]", "[0, 1, 2]"))
    assert "6 runs: 4 done or on their way, 2 to do" in command("sweep", sweep, "--dry-run").stdout
    done = command("sweep", sweep)
    assert "2 former runs, such as by=3, lowest=10%, no longer in the sweep" in done.stderr
    assert "6 runs: 4 done or on their way, 2 to do" in done.stderr
    assert [started(folder, index) for index in range(6)] == [1] * 6
    assert log_of(folder, 0).read_text().count("zero") > 0


def test_a_folder_has_one_set_of_parameters(sweep, tmp_path):
    sweep.write_text(sweep.read_text().replace("load:", "params: {to: out}\nload:"))
    assert command("sweep", sweep, "-p", "to=a").returncode == 0
    for given, said in ((["-p", "to=b"], "with -p to=a"), ([], "with -p to=a")):
        done = command("sweep", sweep, *given)
        assert done.returncode == 2
        assert f"recipe.sweep is the sweep {said}; give another --dir" in done.stderr
    assert command("sweep", sweep, "-p", "to=b", "--dir", tmp_path / "b").returncode == 0


def test_a_sweep_that_is_begun_anew_ends_the_one_before(tmp_path, slow):
    path, folder = specials(tmp_path, slow), tmp_path / "recipe.sweep"
    process = begin("sweep", path, "--jobs", "1")
    wait_for(lambda: slow.gets["/slow-1"] == 2)
    path.write_text(path.read_text().replace("seed: 3", "seed: 4"))
    second = begin("sweep", path, "--jobs", "1")
    wait_for(lambda: "seed: 4" in (folder / "recipe.yaml").read_text())
    slow.go_on.set()
    text, _ = process.communicate(timeout=200)
    assert process.returncode == 1
    assert "was begun again with another recipe" in text
    assert second.wait(200) == 0
    manifests = [json.loads(file.read_text()) for file in (tmp_path / "out").rglob("*.run.json")]
    assert manifests
    assert {facts["seed"] for facts in manifests} == {4}


def test_a_cancel_wins_over_what_began_before_it(sweep, tmp_path):
    command("sweep", sweep, "-q")
    folder = SweepFolder(tmp_path / "recipe.sweep")
    before = time.time()
    folder.stop()
    folder.resume(since=before)
    assert folder.is_stopped
    folder.resume(since=time.time())
    assert not folder.is_stopped


def test_a_process_that_is_not_there_any_longer_leaves_no_model_behind(slow, tmp_path):
    """What idle processes have fetched goes with them."""
    path = specials(tmp_path, slow, "quick-3")
    (tmp_path / "tmp").mkdir()
    done = command("sweep", path, TMPDIR=str(tmp_path / "tmp"))
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_cache_that_is_damaged_or_closed_is_as_none(tmp_path):
    folder, made = tmp_path / "steps" / "a", []

    def do():
        (tmp_path / "0-trained.keras").write_bytes(b"weights")
        made.append(1)
        return {"path": tmp_path / "0-trained.keras", "found": 1}

    assert shared_steps.once(folder, do)["found"] == 1
    assert shared_steps.once(folder, do)["path"] == folder / "0-trained.keras"
    assert len(made) == 1
    (folder / "0-trained.keras").unlink()
    assert shared_steps.once(folder, do)["found"] == 1
    (folder / "facts.json").write_text("[1]")
    assert shared_steps.once(folder, do)["found"] == 1
    assert shared_steps.once(folder, do)["found"] == 1
    assert len(made) == 3
    (tmp_path / "file").write_text("no folder")
    assert shared_steps.once(tmp_path / "file" / "b", do)["found"] == 1


def test_a_cache_that_cannot_be_written_is_left_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    kept = Cached("applications", "key")
    kept.write(1)
    monkeypatch.setattr(os, "replace", full)
    Cached("applications", "other").write(2)
    assert list(kept.path.parent.iterdir()) == [kept.path]


@pytest.fixture
def measured(tmp_path, digits_cnn):
    """A recipe whose two runs begin with the same measurement."""
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"surgery: 1\nload: {{config: {digits_cnn}/digits-cnn.json}}\n"
        "matrix: {by: [1, 2]}\nsteps:\n"
        f"  - evaluate: {{data: {{npz: {digits_cnn}/digits.npz, x: x_test, y: y_test}},\n"
        "      loss: sparse_categorical_crossentropy, metrics: [accuracy]}\n"
        '  - scale: {select: "*/kernel", by: "${by}"}\nexport: [{npz: "out/${by}.npz"}]\n'
    )
    return path


@pytest.mark.parametrize("changed", ["settings", "tensorflow", "packages"])
def test_steps_are_shared_where_all_that_they_depend_on_is_the_same(
    changed, measured, tmp_path, monkeypatch
):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    file = RecipeFile.read(measured)
    recipe = file.run(0)
    before = SharedSteps(file).first(recipe, threads=1)
    assert SharedSteps(file).first(recipe, threads=1) == before
    if changed == "settings":
        (tmp_path / "keras.json").write_text('{"floatx": "float64"}')
    elif changed == "tensorflow":
        monkeypatch.setattr(seen, "installed", lambda name: f"another {name}")
    else:
        recipe = replace(recipe, packages={"numpy": "0"})
    assert SharedSteps(file).first(recipe, threads=1) != before


def test_the_size_of_the_cache_is_checked_before_any_work(measured):
    done = command("sweep", measured, SURGERY_CACHE_BYTES="10GB")
    assert done.returncode == 2
    assert "SURGERY_CACHE_BYTES=10GB: give a number of bytes" in done.stderr


def test_one_run_can_be_forced(sweep, tmp_path):
    made = tmp_path / "out/1-10%/model.npz"
    command("run", sweep, "--index", "0")
    before = made.stat().st_mtime_ns
    assert command("run", sweep, "--index", "0").returncode == 0
    assert made.stat().st_mtime_ns == before
    assert command("run", sweep, "--index", "0", "--force").returncode == 0
    assert made.stat().st_mtime_ns > before
    done = command("run", sweep, SLURM_ARRAY_TASK_ID="abc")
    assert done.returncode == 2
    assert "SLURM_ARRAY_TASK_ID=abc is not the number of a run; give --index N" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tabel", "x.sweep"], "'tabel' is neither a recipe nor a command (did you mean 'table'?)"),
        (["table", "recipe.yaml"], "is not the folder of a sweep (sweep.json: Not a directory)"),
        (["recipe.yaml", "--dir", "s3://lab/x"], "s3://lab/x: a sweep's folder must be on"),
        (["recipe.yaml", "--profile", "p.yaml"], "p.yaml: a profile is a mapping of the keys"),
        (["recipe.yaml", "--profile", "twice.yaml"], "twice.yaml:2:1: "),
        (["recipe.yaml", "--cluster", "setup=5"], "cluster.setup: expected a list"),
    ],
)
def test_wrong_commands(arguments, said, sweep, tmp_path):
    (tmp_path / "p.yaml").write_text("cluster: [1]\n")
    (tmp_path / "twice.yaml").write_text("time: 1\ntime: 2\n")
    done = command("sweep", *arguments, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert said in done.stderr


def test_workers_have_the_numbers_texts_and_the_environment_of_the_submission(tmp_path):
    """A path is the one that was planned, whatever the process that does the run knows."""
    dense_model(tmp_path)
    (tmp_path / "recipe.yaml").write_text(
        'surgery: 1\nname: r\nenv: [TAG]\nparams: {to: "out/${by}"}\nload: model.keras\n'
        'matrix: {by: [1e-3, 010]}\nsteps: [{scale: {select: a, by: "${by}"}}]\n'
        'export: [{npz: "${to}-${env:TAG}.npz"}]\n'
    )
    done = command("sweep", "recipe.yaml", cwd=tmp_path, TAG="first")
    assert done.returncode == 0, done.stderr
    written = ["010-first.npz", "1e-3-first.npz"]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.npz")) == written
    for form in ("sbatch", "kubernetes"):
        flags = ["--emit", form, "--cluster", "image=x"]
        emitted = command("sweep", "recipe.yaml", *flags, cwd=tmp_path, TAG="a $(b) 'c'").stdout
        if form == "sbatch":
            assert """export TAG='a $(b) '"'"'c'"'"''""" in emitted.splitlines()
        else:
            container = yaml.safe_load(emitted)["spec"]["template"]["spec"]["containers"][0]
            assert container["env"] == [{"name": "TAG", "value": "a $$(b) 'c'"}]


def test_a_folder_that_is_none_names_those_that_are(tmp_path):
    """The folder has the file's name, and the recipe's own name is another one."""
    inner = tmp_path / "inner"
    inner.mkdir()
    dense_model(inner)
    (inner / "recipe.yaml").write_text(RECIPE.format(load="model.keras"))
    command("sweep", "recipe.yaml", cwd=inner)
    done = command("sweep", "table", "prune.sweep", cwd=inner)
    assert done.returncode == 2
    assert done.stderr.endswith("; there are the sweeps recipe.sweep\n")
    done = command("sweep", "table", "recipe.sweep", cwd=tmp_path)
    assert done.stderr.endswith("; there are the sweeps inner/recipe.sweep\n")
