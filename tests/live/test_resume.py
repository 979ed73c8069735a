"""A training that is killed goes on from its last epoch, as if nothing had been."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from surgery.execution.live import LiveRunner
from surgery.execution.planning import make_plan
from surgery.execution.progress import Silent
from surgery.recipe.reading import read_recipe
from tests.live.conftest import command, recipe, train

CALLBACKS = {
    "reduce_lr_on_plateau": {
        "monitor": "loss", "factor": 0.5, "patience": 0, "min_delta": 0.3,
    },
    "early_stopping": {"monitor": "val_loss", "patience": 3, "restore_best_weights": True},
}  # fmt: skip
SCHEDULE = {"select": "**/kernel", "to": "60%", "begin": 5, "end": 150, "every": 7}


ARGUMENTS = ["run", "r.yaml", "--threads", "1", "--json"]


def begin(folder):
    arguments = [sys.executable, "-m", "surgery", *ARGUMENTS]
    return subprocess.Popen(
        arguments, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("extra", [{}, {"prune_schedule": SCHEDULE}], ids=["plain", "pruned"])
def test_killed_in_the_third_epoch(extra, net, tmp_path):
    step = train(
        epochs=5, validation_split="10%", callbacks=CALLBACKS,
        optimizer={"adam": {"learning_rate": 0.01}}, **extra,
    )  # fmt: skip
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        shutil.copy(net, folder / "net.keras")
        recipe(folder, step)
    done = command(*ARGUMENTS, cwd=whole)
    expected = json.loads(done.stdout)["steps"][0]["found"]
    assert expected["metrics"]["learning_rate"] < 0.01, done.stderr  # the plateau has been reached

    process = begin(killed)
    for _ in range(6000):
        if list(killed.glob("out/.r.run.json.surgery-live-*/*/epoch-2")):
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (left,) = (killed / "out").iterdir()
    assert left.name.startswith(".r.run.json.surgery-live-")

    done = command(*ARGUMENTS, cwd=killed)
    found = json.loads(done.stdout)["steps"][0]["found"]
    assert found["resumed_from"] in (2, 3, 4), done.stderr
    assert found["history"] == expected["history"]
    made = (killed / "out" / "model.keras").read_bytes()
    assert made == (whole / "out" / "model.keras").read_bytes()
    assert sorted(path.name for path in (killed / "out").iterdir()) == ["model.keras", "r.run.json"]


def test_a_training_that_had_stopped_early_is_not_trained_on(net, tmp_path):
    """Killed after it has stopped: its best weights are taken, and no epoch is added."""
    from surgery.live.process.callbacks import Resume

    stops = {"early_stopping": {"monitor": "loss", "min_delta": 10.0, "patience": 1}}
    path = recipe(tmp_path, train(epochs=9, callbacks=stops))
    (tmp_path / "fail.py").write_text("def batches(): raise RuntimeError('later')\n")
    failing = {"data": {"generator": "fail:batches"}}
    steps = json.loads(path.read_text())
    steps["steps"].append({"evaluate": failing})
    path.write_text(json.dumps(steps))
    for _ in range(2):
        done = command("--allow-code", *ARGUMENTS, cwd=tmp_path)
        assert done.returncode == 1
        assert "RuntimeError: later" in done.stderr
    (kept,) = (tmp_path / "out").glob(".r.run.json.surgery-live-*/*/epoch-*")
    assert kept.name == "epoch-2"
    assert Resume(kept.parent, [], []).stopped


def test_all_steps_of_a_run_are_kept_in_one_folder(net, tmp_path):
    """Which is locked; also where a file changes meanwhile, for which the run is refused later."""
    plan = make_plan(read_recipe(recipe(tmp_path, train(), train())))
    runner = LiveRunner(Silent(), 1, plan)
    first = runner.resume_folder()
    os.utime(net, (1, 1))
    assert runner.resume_folder().parent == first.parent
    assert (first.parent / "lock").exists()


def test_on_ctrl_c_it_says_that_it_goes_on(net, tmp_path):
    recipe(tmp_path, train(epochs=500))
    process = begin(tmp_path)
    for _ in range(6000):
        if list(tmp_path.glob("out/.r.run.json.surgery-live-*/*/epoch-*")):
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    told = r"interrupted; nothing was written; run it again: the training resumes after epoch \d+"
    assert re.fullmatch(told, errors.strip().splitlines()[-1])
