"""What a real Slurm does to runs besides their own faults, with accounting and without."""

import os
import signal
import subprocess

from tests.conftest import command
from tests.sweep.conftest import begin, holder, states, wait_for

RECIPE = """surgery: 1
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
        RECIPE.format(
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
