"""The command as its user sees it: output, exit codes, signals."""

import copy
import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

import surgery
from surgery.architecture import Architecture
from tests.conftest import command, dense_model, same_bytes, values

RECIPE = """surgery: 1
params: {by: 2}
load: {path: m.keras}
steps:
  - scale: {select: a/kernel, by: "${by}"}
  - name: prune
    zero: {select: "*/kernel", lowest: 50%}
  - freeze: {select: b}
export:
  - keras: out/new.keras
  - npy: out/weights
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    dense_model(tmp_path, "m.keras")
    (tmp_path / "r.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_run(folder):
    before = values(surgery.open("m.keras"))
    done = command("run", "r.yaml", "-p", "by=3")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "r: m.keras, 4 weights, 23 parameters, 92 B"
    assert lines[1] == "1. scale a/kernel: 1 weight, 12 of 12 elements changed"
    assert [line.split()[0] for line in lines[2:5]] == ["min", "before", "after"]
    assert lines[5] == "2. prune: 2 weights, 9 of 18 elements changed"
    assert lines[9] == "3. freeze b: 2 weights, in the config"
    assert lines[10].startswith("wrote out/new.keras (keras, ")
    assert lines[11].startswith("wrote out/weights (npy, ")
    assert all(len(line) <= 80 for line in lines)
    after = values(surgery.open("out/new.keras"))
    scaled = before["a/kernel"] * 3
    order = np.argsort(np.abs(scaled).ravel(), kind="stable")[:6]
    scaled.ravel()[order] = 0
    assert np.array_equal(after["a/kernel"], scaled)
    assert np.array_equal(after["a/bias"], before["a/bias"])
    assert np.array_equal(np.load("out/weights/a/kernel.npy"), scaled)


def test_run_json(folder):
    facts = json.loads(command("run", "r.yaml", "--json").stdout)
    assert facts["steps"][0]["matched"] == ["a/kernel"]
    assert facts["steps"][0]["changed"] == 12
    assert facts["steps"][1]["changes_at_most"] == 9
    assert facts["steps"][1]["after"]["zeros"] == 9
    assert facts["steps"][2]["changes_at_most"] == 0
    assert [o["format"] for o in facts["outputs"]] == ["keras", "npy"]
    assert facts["outputs"][0]["bytes"] == os.path.getsize("out/new.keras")


def test_a_log_has_a_line_for_every_event(folder):
    done = command("run", "r.yaml", "--log-format", "json")
    assert (done.returncode, done.stdout) == (0, "")
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert all(event["recipe"] == "r" and event["time"].endswith("+00:00") for event in events)
    assert [event["event"] for event in events] == [
        "started", "writing", "step", "step", "step", "wrote", "wrote", "done",
    ]  # fmt: skip
    assert events[-3]["path"] == "out/new.keras"
    done = command("run", "r.yaml", "--log-format", "json")
    assert json.loads(done.stderr)["event"] == "up to date"
    done = command("run", "r.yaml", "--force", "--log-format", "text")
    lines = done.stderr.splitlines()
    assert lines[0].endswith(" r: started source=m.keras weights=4")
    Path("m.keras").unlink()
    done = command("run", "r.yaml", "--log-format", "json")
    assert done.returncode == 1
    assert json.loads(done.stderr)["exit_code"] == 1


def test_plan_and_dry_run_write_nothing(folder):
    for arguments in (["plan", "r.yaml"], ["run", "--dry-run", "r.yaml"]):
        done = command(*arguments)
        assert done.returncode == 0
        assert "1. scale a/kernel  a/kernel   12 of 12" in done.stdout
        assert "3. freeze b        2 weights  config only" in done.stdout
        assert "in 3 passes" in done.stdout
    assert sorted(os.listdir()) == ["m.keras", "r.yaml"]
    facts = json.loads(command("plan", "r.yaml", "--json").stdout)
    assert facts["tensorflow"] is False
    assert facts["bytes_read"] == 92 + 2 * (12 + 6) * 4


def test_quiet_and_verbose(folder):
    assert command("run", "-q", "r.yaml").stdout == ""
    assert "b/kernel: 3 of 6 changed" in command("run", "-v", "--force", "r.yaml").stdout


def test_several_recipes_are_checked_before_the_first_runs(folder):
    Path("bad.yaml").write_text(RECIPE.replace("scale", "scael"))
    done = command("run", "r.yaml", "bad.yaml")
    assert done.returncode == 2
    assert "bad.yaml:5:5: steps[0].scael: unknown op" in done.stderr
    assert not Path("out").exists()


def test_validate(folder):
    Path("bad.yaml").write_text(RECIPE.replace("scale", "scael"))
    done = command("validate", "r.yaml", "bad.yaml")
    assert done.returncode == 2
    assert done.stdout == "r.yaml: valid\n"
    assert done.stderr.startswith("bad.yaml:5:5: ")


def test_a_relative_path_starts_at_the_recipe(folder):
    (folder / "elsewhere").mkdir()
    assert command("run", "-q", "../r.yaml", cwd=folder / "elsewhere").returncode == 0
    assert Path("out/new.keras").exists()


def test_inspect(folder):
    done = command("inspect", "m.keras")
    assert done.stdout.splitlines()[0].split() == [
        "weight", "shape", "dtype", "trained", "parameters",
    ]  # fmt: skip
    assert "a/kernel  4x3    float32  yes              12" in done.stdout
    assert done.stdout.endswith("keras: 4 weights, 23 parameters (23 trained), 92 B\n")
    stats = command("inspect", "m.keras", "--stats", "--select", "*/bias").stdout
    assert "kernel" not in stats
    printed = command("inspect", "m.keras", "--select", "a/kernel", "--values", "--slice", "0:2,1")
    kernel = values(surgery.open("m.keras"))["a/kernel"]
    assert printed.stdout == f"a/kernel [2] float32\n{kernel[0:2, 1]}\n"


def test_inspect_shows_layers_without_weights(folder):
    model = surgery.open("m.keras")
    config = copy.deepcopy(dict(model.architecture.config))
    relu = {"module": "keras.layers", "class_name": "ReLU", "registered_name": None,
            "config": {"name": "relu"}}  # fmt: skip
    config["config"]["layers"].insert(2, relu)
    config["config"]["layers"].append({**relu, "class_name": "Own", "module": "mine"})
    config["config"]["layers"][-1]["config"] = {"name": "own"}
    surgery.save(dataclasses.replace(model, architecture=Architecture(config)), keras="r.keras")
    shown = {
        "relu": "relu: ReLU, no weights; output 3; 3 FLOPs\n  from a 3\n  to b\n",
        "{type: Own}": "own: Own, no weights; output ?; unknown FLOPs\n  from b 2\n",
        "{type: InputLayer}": "in: InputLayer, no weights; output 4; 0 FLOPs\n  to a\n",
    }
    for selector, text in shown.items():
        done = command("inspect", "r.keras", "--select", selector)
        assert (done.returncode, done.stdout) == (0, text)
    facts = json.loads(command("inspect", "r.keras", "--select", "relu", "--json").stdout)
    assert facts["calls"] == [
        {"layer": "relu", "type": "ReLU", "call": 0, "flops": 3, "read_by": ["b"],
         "inputs": [{"layer": "a", "shape": [None, 3]}], "outputs": [[None, 3]]}
    ]  # fmt: skip
    assert "no weight" in command("inspect", "r.keras", "--select", "relu", "--stats").stderr


def test_inspect_json(folder):
    facts = json.loads(command("inspect", "m.keras", "--json", "--hash", "--stats").stdout)
    assert set(facts) == {"path", "format", "layers", "weights"}
    assert facts["layers"][0] == {"name": "a", "type": "Dense", "trainable": True}
    weight = facts["weights"][0]
    assert {k: weight[k] for k in ("address", "layer", "variable", "shape", "dtype")} == {
        "address": "a/kernel", "layer": "a", "variable": "kernel", "shape": [4, 3],
        "dtype": "float32",
    }  # fmt: skip
    assert weight["stored"] == ["layers/dense/vars/0"]
    assert len(weight["sha256"]) == 64
    assert weight["stats"]["nonfinite"] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run"], 2, "Missing argument 'RECIPE...'"),
        (["runn"], 2, "there is no command 'runn' (did you mean 'run'?)"),
        (["run", "missing.yaml"], 2, "missing.yaml:1:1: No such file or directory"),
        (["run", "."], 2, ". is a folder, not a recipe"),
        (["run", "r.yaml", "-p", "by"], 2, "write it as -p name=value"),
        (["run", "r.yaml", "-p", "bye=3"], 2, "did you mean 'by'?"),
        (["run", "r.yaml", "--threads", "0"], 2, "0 is not in the range"),
        (["inspect", "missing.keras"], 1, "missing.keras: no such file or folder"),
        (
            ["inspect", "r.yaml"],
            1,
            "r.yaml is a recipe, not a model; surgery plan r.yaml shows what",
        ),
        (["inspect", "m.keras", "--select", "a/kernl"], 2, "the nearest are a/kernel"),
        (["inspect", "m.keras", "--slice", "0:2"], 2, "--slice requires --values"),
        (["inspect", "m.keras", "--values", "--slice", "x"], 2, "write it as 0:3,0:5"),
        (["inspect", "m.keras", "--values", "--slice", "9", "--select", "a/bias"], 2, "out of"),
        (["inspect", "m.keras", "--values", "--slice", "0,0,0"], 2, "has 3 dimensions"),
        (["inspect", "m.keras", "--values", "--slice", "1:2:3:4"], 2, "write it as 0:3,0:5"),
        (["inspect", "m.keras", "--values", "--hash"], 2, "--values cannot be combined with --"),
        (["inspect", "m.keras", "--select", ""], 2, "an empty selector names nothing"),
        (["ops", "zeor"], 2, "did you mean 'zero'?"),
        (["ops", "prune"], 2, "did you mean 'zero'?"),
        (["run", "m.keras"], 2, "m.keras is a model, not a recipe; surgery inspect m.keras"),
        (["plan", "recipes/tame.yaml"], 2, "No such file or directory; surgery init tame copies"),
        (["prune", "m.keras"], 2, "there is no command 'prune'; in a recipe it is zero"),
        (["scale", "m.keras"], 2, "in a recipe it is scale: surgery ops scale"),
        (["r.yaml"], 2, "there is no command 'r.yaml'; surgery run r.yaml runs a recipe"),
        (["inpect", "m.keras"], 2, "there is no command 'inpect' (did you mean 'inspect'?)"),
        (["run", "r.yaml", "--out", "x"], 2, "Give the paths to write in the recipe, under exp"),
    ],
    ids=str,
)
def test_errors(folder, arguments, code, message):
    done = command(*arguments)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_bug_of_ours_is_70_with_a_report(folder):
    code = (
        "import surgery.report.models as m, sys; m.model_text = None\n"
        "sys.argv = ['surgery', 'inspect', 'm.keras']\n"
        "from surgery.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 70
    assert "This is a bug in surgery. Please report it" in done.stderr
    assert "Traceback" in done.stderr


def test_schema_write(folder):
    assert command("schema", "--write").stdout == "wrote schemas/recipe.schema.json\n"
    assert json.loads(Path("schemas/recipe.schema.json").read_text()) == json.loads(
        command("schema").stdout
    )


def test_ops(folder):
    shown = command("ops").stdout
    assert "\n  scale  " in shown
    assert " Multiply the selected weights by a number." in shown
    for name in ("sparsity", "application", "safetensors", "tfrecord"):
        assert f"\n  {name} " in shown
    assert all(len(line) < 80 for line in shown.splitlines())
    facts = json.loads(command("ops", "--json").stdout)
    assert {"scale", "target npz", "data npz", "expectation finite"} <= facts.keys()


def test_the_keys_of_an_op_with_what_is_required_and_what_else_holds(folder):
    shown = command("ops", "zero").stdout
    assert "select (required)\n" in shown
    assert "One of tensor, global. Default: tensor." in " ".join(shown.split())
    assert all(len(line) < 80 for line in shown.splitlines())
    assert "required" in json.loads(command("ops", "scale", "--json").stdout)["scale"]
    shown = command("ops", "npz").stdout  # a target, and a kind of data
    assert "npz (target): " in shown
    assert "npz (data): " in shown


def test_a_closed_pipe_is_no_error(folder):
    done = subprocess.run(
        f"{sys.executable} -m surgery inspect m.keras --json | head -1",
        shell=True, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "{\n"
    assert done.stderr == ""


SLOW = """
import sys, time, surgery.execution.execute as e
from surgery.weights.tensor import FileTensor
read = FileTensor.read
def slow(self, start, stop):
    print("reading", flush=True)
    time.sleep(0.4)
    return read(self, start, stop)
FileTensor.read = slow
sys.argv = ["surgery", "run", "--threads", "1", "r.yaml"]
from surgery.cli.main import main
main()
"""


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_a_signal_cleans_up(folder, number, code):
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    time.sleep(0.1)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == code
    assert "nothing was written" in stderr
    assert sorted(os.listdir()) == ["m.keras", "r.yaml"]


def test_links_to_an_input_are_refused(folder):
    before = Path("m.keras").read_bytes()
    os.symlink("m.keras", "soft.keras")
    os.link("m.keras", "hard.keras")
    os.symlink(".", "loop")
    for output in ("soft.keras", "hard.keras", "loop/m.keras", "./m.keras"):
        Path("r.yaml").write_text(
            f"surgery: 1\nload: {{path: m.keras}}\nexport: [{{keras: {output}}}]\n"
        )
        done = command("run", "r.yaml")
        assert done.returncode == 2
        assert "input" in done.stderr
    assert Path("m.keras").read_bytes() == before


def test_an_npy_input_is_never_an_output(folder):
    surgery.save(surgery.open("m.keras"), npy="w")
    for output in ("w", "w/a/kernel.npy", "w/sub"):
        Path("r.yaml").write_text(f"surgery: 1\nload: {{path: w}}\nexport: [{{npy: {output}}}]\n")
        assert command("run", "r.yaml").returncode == 2
    Path("r.yaml").write_text(
        "surgery: 1\nload: {path: m.keras}\nsteps:\n"
        "  - set: {select: a/bias, npy: w/a/bias.npy}\nexport: [{npy: w}]\n"
    )
    assert command("run", "r.yaml").returncode == 2
    assert same_bytes(surgery.open("w"), surgery.open("m.keras"))


def test_somebody_s_folder_is_not_replaced(folder):
    (folder / "out" / "weights").mkdir(parents=True)
    (folder / "out" / "weights" / "thesis.tex").write_text("all of it")
    done = command("run", "r.yaml")
    assert done.returncode == 2
    assert "is a folder with files that surgery did not write" in done.stderr
    assert (folder / "out" / "weights" / "thesis.tex").read_text() == "all of it"


def test_a_rename_that_fails_undoes_those_before_it(folder, monkeypatch):
    surgery.save(surgery.open("m.keras"), weights_h5="old.h5", npy="old")
    before = {path: path.read_bytes() for path in Path().rglob("*.*") if path.is_file()}
    real = os.replace

    def fail(old, new):
        if str(new) == "last.h5":
            raise OSError(errno.EIO, "Input/output error")
        real(old, new)

    monkeypatch.setattr(os, "replace", fail)
    model = surgery.scale(surgery.open("m.keras"), "**", by=2)
    with pytest.raises(surgery.SurgeryError, match="Input/output error; nothing was written"):
        surgery.save(model, keras="new.keras", weights_h5="old.h5", npy="old", h5="last.h5")
    assert {path: path.read_bytes() for path in Path().rglob("*.*") if path.is_file()} == before


def test_pipes_are_neither_read_nor_written(folder):
    os.mkfifo("pipe")
    Path("r.yaml").write_text("surgery: 1\nload: m.keras\nexport: [{keras: pipe}]\n")
    done = command("run", "r.yaml")
    assert (done.returncode, "pipe is neither a file nor a folder" in done.stderr) == (2, True)
    done = command("inspect", "pipe")
    assert (done.returncode, done.stderr) == (1, "pipe is neither a file nor a folder\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_output_that_cannot_be_printed(folder):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "surgery", "inspect", "m.keras"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "No space left on device\n")


def test_the_recipe_and_targets_inside_one_another_are_not_written(folder):
    for export, message in (
        ("[{keras: r.yaml}]", "is an input of this recipe"),
        ("[{npy: w}, {keras: w/m.keras}]", "contain one another"),
    ):
        Path("r.yaml").write_text(f"surgery: 1\nload: m.keras\nexport: {export}\n")
        done = command("run", "r.yaml")
        assert (done.returncode, message in done.stderr) == (2, True)


def test_from_python_again_and_again(folder):
    assert surgery.run("r.yaml").outputs
    assert surgery.run("r.yaml", by=3).outputs
    model = surgery.open("m.keras")
    assert surgery.scale(model, "a", by=np.float32(2)).weights
    with pytest.raises(surgery.SurgeryError, match="cannot be part of a recipe"):
        surgery.scale(model, model.weights[0], by=2)
    with pytest.raises(surgery.SurgeryError, match="float32, which cannot hold 1e\\+300"):
        surgery.set(model, "a", to=1e300)


def test_a_folder_that_cannot_be_written_to(folder):
    Path("file").write_text("")
    Path("r.yaml").write_text(RECIPE.replace("out/new.keras", "file/new.keras"))
    done = command("run", "r.yaml")
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert sorted(os.listdir()) == ["file", "m.keras", "r.yaml"]


def test_threads_do_not_change_a_byte(folder, monkeypatch):
    outputs = []
    for threads in (1, 2, 4):
        assert command("run", "-q", "--force", "r.yaml", "--threads", threads).returncode == 0
        outputs.append(Path("out/new.keras").read_bytes())
    assert outputs[0] == outputs[1] == outputs[2]


def test_a_model_keras_cannot_deserialise_is_edited(folder):
    """A custom class at the root and an old config: opens, lists, edits, exports."""
    with h5py.File("custom.h5", "w") as file:
        config = {"class_name": "Mine", "config": {"name": "mine", "layers": 7}}
        file.attrs["model_config"] = json.dumps(config)
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [b"odd"]
        inner = group.create_group("odd")
        inner.attrs["weight_names"] = [b"odd/theta:0"]
        inner["odd/theta:0"] = np.arange(3.0)
    Path("r.yaml").write_text(
        "surgery: 1\nload: {path: custom.h5}\nsteps:\n  - scale: {select: odd/theta, by: 2}\n"
        "export: [{h5: out.h5}, {npy: out}]\n"
    )
    done = command("run", "r.yaml")
    assert done.returncode == 0, done.stderr
    assert np.load("out/odd/theta.npy").tolist() == [0, 2, 4]
    assert values(surgery.open("out.h5"))["odd/theta"].tolist() == [0, 2, 4]
