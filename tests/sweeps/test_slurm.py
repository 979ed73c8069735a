"""A real Slurm on one node: runs are requeued, killed, preempted, too long or wrong."""

import os
import signal
import subprocess
import time

from tests.conftest import ROOT, command
from tests.sweeps.conftest import begin, holder, log_of, outputs, states, wait_for

NAMES = [f"quick-{n}" for n in range(21)]
for place, name in ((3, "slow-requeue"), (9, "slow-kill"), (15, "slow-limit")):
    NAMES.insert(place, name)
WRONG = 6

RECIPE = """surgery: 1
name: prune
seed: 3
params: {base: x, out: x}
load: "${model}"
matrix:
  zip:
    model: [%s]
    lowest: [%s]
steps:
  - zero: {select: a/kernel, lowest: "${lowest}"}
expect:
  - sparsity: {select: a/kernel, at_most: 60%%}
export:
  - keras: "${out}/${lowest}-${index}.keras"
  - npy: "${out}/${lowest}-${index}"
cluster: {time: 1, signal: 0, partition: batch}
"""
TRAINED = """surgery: 1
name: trained
seed: 4
params: {out: x, data: x}
load: {config: "${data}/digits-cnn.json"}
matrix: {rate: [0.001]}
steps:
  - train: {data: {npz: "${data}/digits.npz", x: x_test, y: y_test}, epochs: 60,
      optimizer: {adam: {learning_rate: "${rate}"}}, loss: sparse_categorical_crossentropy}
export:
  - keras: "${out}/${rate}.keras"
cluster: {time: 10, mem: 2GB}
"""


def test_a_sweep_on_slurm(slurm, slow, tmp_path):
    path, folder = tmp_path / "recipe.yaml", tmp_path / "slurm.sweep"
    shares = ["90%" if index == WRONG else "50%" if index % 2 else "25%" for index in range(24)]
    models = ", ".join(f'"${{base}}/{name}"' for name in NAMES)
    path.write_text(RECIPE % (models, ", ".join(shares)))
    trained, resumed = tmp_path / "trained.yaml", tmp_path / "trained.sweep"
    trained.write_text(TRAINED)
    data = ROOT / "recipes" / "data"

    here = command("sweep", path, "--dir", tmp_path / "local.sweep", "-p", f"out={tmp_path}/local",
                   "-p", f"base={slow.url('local')}")  # fmt: skip
    assert here.stdout.splitlines()[0] == "24 runs: 23 done, 1 failed", here.stdout + here.stderr

    given = ["-p", f"out={tmp_path}/slurm", "-p", f"base={slow.url('slurm')}"]
    sent = command("sweep", path, "--dir", folder, "--on", "slurm", *given, **slurm)
    assert sent.returncode == 0, sent.stderr
    assert sent.stderr.startswith("submitted 24 runs as ")
    given = ["-p", f"out={tmp_path}/resumed", "-p", f"data={data}"]
    sent = command("sweep", trained, "--dir", resumed, "--on", "slurm", *given, **slurm)
    assert sent.returncode == 0, sent.stderr

    ids = {run["index"]: run["id"] for run in states(folder, slurm)}
    kinds = {name: NAMES.index(f"slow-{name}") for name in ("requeue", "kill", "limit")}
    wait_for(lambda: slow.gets["/slurm/slow-requeue"] == 2, 240)
    assert states(folder, slurm)[kinds["requeue"]]["state"] == "running"
    job = holder(folder, ids[kinds["requeue"]])["job"]
    subprocess.run(["scontrol", "requeue", job], check=True, env={**os.environ, **slurm})
    wait_for(lambda: slow.gets["/slurm/slow-kill"] == 2, 240)
    wait_for(lambda: slow.gets["/slurm/slow-limit"] == 2, 240)
    again = command("sweep", path, "--dir", folder, "--on", "slurm",
                    "-p", f"out={tmp_path}/slurm", "-p", f"base={slow.url('slurm')}",
                    **slurm)  # fmt: skip
    assert "submitted" not in again.stderr  # all are on their way, or done

    os.kill(holder(folder, ids[kinds["kill"]])["pid"], signal.SIGKILL)

    # The training gets the signal that comes before a time limit, in its fifth epoch.
    log = log_of(resumed, 0)
    wait_for(lambda: log.exists() and "epoch number=5" in log.read_text(), 300)
    pid = holder(resumed, states(resumed, slurm)[0]["id"])["pid"]
    os.kill(pid, signal.SIGUSR2)

    wait_for(lambda: not {"running", "pending", "requeued"}
             & {run["state"] for run in states(folder, slurm)}, 400, 1)  # fmt: skip
    time.sleep(6)  # accounting lags
    found = states(folder, slurm)
    told = {name: (found[index]["state"], found[index]["detail"]) for name, index in kinds.items()}
    assert told["requeue"][0] == "done"
    assert "requeued once" in told["requeue"][1]
    assert told["kill"][0] == "killed"
    assert "FAILED" in told["kill"][1]
    assert told["limit"][0] == "timed out"
    assert "TIMEOUT" in told["limit"][1]
    assert found[WRONG]["state"] == "failed"
    assert "sparsity" in found[WRONG]["detail"]
    others = {run["state"] for run in found if run["index"] not in {*kinds.values(), WRONG}}
    assert others == {"done"}
    text = command("sweep", "status", folder, **slurm).stdout.splitlines()
    assert text[0] == "24 runs: 21 done, 1 failed, 1 killed, 1 timed out"

    retried = begin("sweep", "retry", folder, "--wait", **slurm)
    said, _ = retried.communicate(timeout=400)
    assert "24 runs: 23 done, 1 failed" in said
    assert "submitted 3 runs as" in said
    assert outputs(tmp_path / "slurm") == outputs(tmp_path / "local")

    wait_for(lambda: {run["state"] for run in states(resumed, slurm)} == {"done"}, 400, 1)
    assert log.read_text().count(": started ") == 2
    assert log.read_text().count("epoch number=1 ") == 1  # it went on from its last epoch
    alone = command("sweep", trained, "--dir", tmp_path / "alone.sweep", "-p",
                    f"out={tmp_path}/alone", "-p", f"data={data}")  # fmt: skip
    assert alone.returncode == 0, alone.stderr
    assert outputs(tmp_path / "resumed") == outputs(tmp_path / "alone")


def test_cancel(slurm, slow, tmp_path):
    path, folder = tmp_path / "recipe.yaml", tmp_path / "recipe.sweep"
    path.write_text(RECIPE % ('"${base}/slow-a", "${base}/slow-b"', "25%, 50%"))
    given = ["-p", f"out={tmp_path}/out", "-p", f"base={slow.url('cancel')}"]
    assert command("sweep", path, "--on", "slurm", *given, **slurm).returncode == 0
    wait_for(lambda: slow.gets["/cancel/slow-a"] == 2, 240)
    done = command("sweep", "cancel", folder, **slurm)
    assert "jobs " in done.stdout
    assert " cancelled" in done.stdout
    wait_for(lambda: {run["state"] for run in states(folder, slurm)} == {"cancelled"}, 120, 0.5)
    slow.go_on.set()
    assert command("sweep", "retry", folder, "--on", "local", **slurm).returncode == 0


def test_more_runs_than_an_array_takes(slurm, small, tmp_path):
    said = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True,
                          check=True, env={**os.environ, **slurm}).stdout  # fmt: skip
    (line,) = [line for line in said.splitlines() if line.startswith("MaxArraySize")]
    most = int(line.split("=")[1])
    path = tmp_path / "recipe.yaml"
    (tmp_path / "by.txt").write_text("\n".join(map(str, range(most + 2))))
    path.write_text(
        "surgery: 1\nload: model.keras\nmatrix: {by: {file: by.txt}}\n"
        'steps: [{scale: {select: a, by: "${by}"}}]\nexport: [{npz: "out/${by}.npz"}]\n'
        "cluster: {array_parallelism: 1}\n"
    )
    sent = command("sweep", path, "--on", "slurm", **slurm)
    assert sent.returncode == 0, sent.stderr
    ids = sent.stderr.removeprefix(f"submitted {most + 2:,} runs as ").strip().split(", ")
    assert len(ids) == 2
    lines = command("sweep", "status", tmp_path / "recipe.sweep", **slurm).stdout.splitlines()
    assert any(line.startswith("... and ") and "more pending" in line for line in lines)
    assert len(lines) < 40
    command("sweep", "cancel", tmp_path / "recipe.sweep", **slurm)
    found = states(tmp_path / "recipe.sweep", slurm)
    assert len(found) == most + 2
    assert all(run["detail"].partition("_")[0] == f"job {ids[run['index'] // most]}"
               for run in found if run["state"] == "cancelled")  # fmt: skip


def test_what_slurm_refuses_is_told(slurm, small, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "surgery: 1\nload: model.keras\nmatrix: {by: [1, 2]}\n"
        'steps: [{scale: {select: a, by: "${by}"}}]\nexport: [{npz: "out/${by}.npz"}]\n'
    )
    done = command("sweep", path, "--on", "slurm", "--cluster", "partition=none", **slurm)
    assert done.returncode == 1
    assert "Slurm refuses the runs: " in done.stderr
    assert "partition" in done.stderr
    done = command("sweep", path, "--on", "slurm", "--cluster", "partitoin=none", **slurm)
    assert done.returncode == 2
    assert "unknown key 'partitoin' (did you mean 'partition'?)" in done.stderr


WAITING = """surgery: 1
load: "{url}/slow-${{n}}"
matrix: {{n: [{runs}]}}
steps: [{{scale: {{select: a, by: 2}}}}]
export: [{{npz: "{out}/${{n}}.npz"}}]
cluster: {{time: 5, signal: 0, mem: 300MB, cpus: 1{more}}}
"""


def sent(slow, slurm, folder, name, runs=1, more=""):
    """Submit a sweep of runs that wait for the server; gives its folder when all of them run."""
    path = folder / f"{name}.yaml"
    path.write_text(
        WAITING.format(
            url=slow.url(name), out=folder / name, runs=", ".join(map(str, range(runs))), more=more
        )
    )
    done = command("sweep", path, "--on", "slurm", **slurm)
    assert done.returncode == 0, done.stderr
    wait_for(lambda: all(slow.gets[f"/{name}/slow-{n}"] == 2 for n in range(runs)), 240, 0.2)
    return folder / f"{name}.sweep"


def told(folder, slurm):
    return [(run["state"], run["detail"]) for run in states(folder, slurm)]


def control(slurm, *arguments, check=True):
    subprocess.run(arguments, check=check, env={**os.environ, **slurm}, capture_output=True)


def test_a_node_that_fails(slurm, slow, tmp_path):
    again = sent(slow, slurm, tmp_path, "again")
    never = sent(slow, slurm, tmp_path, "never", more=", sbatch: {requeue: false}")
    node = ("scontrol", "update", "nodename=localhost")
    control(slurm, *node, "state=down", "reason=test")
    try:
        wait_for(lambda: told(never, slurm)[0][0] == "node failed", 60, 0.5)
        assert "NODE_FAIL" in told(never, slurm)[0][1]
        assert told(again, slurm)[0][0] in ("pending", "requeued")
    finally:
        control(slurm, *node, "state=resume", check=False)  # perhaps it is up again already
    wait_for(lambda: told(again, slurm)[0][0] == "done", 240, 0.5)
    done = begin("sweep", "retry", never, "--wait", **slurm).communicate(timeout=240)[0]
    assert "1 run: 1 done" in done


def test_runs_that_are_preempted(slurm, slow, tmp_path):
    ended = sent(slow, slurm, tmp_path, "ended", more=", partition: scavenge")
    again = sent(slow, slurm, tmp_path, "again", more=", partition: batch")
    cores = str(os.cpu_count())
    control(slurm, "srun", "-p", "urgent", "-n", cores, "--mem", "16M", "true")
    wait_for(lambda: told(ended, slurm)[0][0] == "preempted", 60, 0.5)
    assert "PREEMPTED" in told(ended, slurm)[0][1]
    wait_for(lambda: told(again, slurm)[0][0] == "done", 240, 0.5)
    done = begin("sweep", "retry", ended, "--wait", **slurm).communicate(timeout=240)[0]
    assert "1 run: 1 done" in done


def test_without_accounting(slurm_without_accounting, slow, tmp_path):
    slurm = slurm_without_accounting
    folder = sent(slow, slurm, tmp_path, "light", 2)
    assert [state for state, _ in told(folder, slurm)] == ["running", "running"]
    os.kill(holder(folder, states(folder, slurm)[0]["id"])["pid"], signal.SIGKILL)
    wait_for(lambda: told(folder, slurm)[0][0] == "killed", 60, 0.5)
    slow.go_on.set()
    wait_for(lambda: told(folder, slurm)[1][0] == "done", 60, 0.5)
    done = begin("sweep", "retry", folder, "--wait", **slurm).communicate(timeout=240)[0]
    assert "2 runs: 2 done" in done
