"""Sweeps: overhead of a run, how they grow, and sixteen prune levels of VGG16.

    python benchmarks/sweep.py trivial     1,000 runs of a tiny model, against two peers
    python benchmarks/sweep.py growth      status and table of 10 to 10,000 runs
    python benchmarks/sweep.py vgg16       16 levels, against 16 Keras scripts, two at a time

The peers of `trivial`: a shell loop of `surgery run`, and concurrent.futures calling surgery.run in
as many processes. Nothing here is a test: the figures depend on the machine, the ratios carry over.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from run import measured, vgg16

SURGERY = [sys.executable, "-m", "surgery"]
TRIVIAL = """surgery: 1
name: trivial
load: {model}
params: {{{params}out: out}}
{matrix}
steps:
  - scale: {{select: "*/kernel", by: "${{by}}"}}
export:
  - npz: "${{out}}/${{by}}.npz"
"""
FUTURES = """
import concurrent.futures, sys
import surgery
def one(by):
    surgery.run(sys.argv[1], by=str(by), out=f"{sys.argv[2]}/{by}")
if __name__ == "__main__":
    with concurrent.futures.ProcessPoolExecutor(int(sys.argv[4])) as pool:
        list(pool.map(one, range(int(sys.argv[3]))))
"""
LEVELS = [f"{level}%" for level in range(5, 85, 5)]
PRUNE = """surgery: 1
name: prune
load: {source}
matrix: {{lowest: [{levels}]}}
steps:
  - zero: {{select: fc1/kernel, lowest: "${{lowest}}"}}
export:
  - keras: "out/${{lowest}}.keras"
"""
SCRIPT = """
import sys
import keras, numpy as np
source, out, level = sys.argv[1], sys.argv[2], int(sys.argv[3])
model = keras.models.load_model(source)
layer = model.get_layer("fc1")
kernel, bias = layer.get_weights()
flat = kernel.reshape(-1)
count = flat.size * level // 100
flat[np.argpartition(np.abs(flat), count)[:count]] = 0
layer.set_weights([kernel, bias])
model.save(out)
"""


def trivial(runs, folder, count=1000):
    import numpy as np

    model = folder / "tiny.npz"
    np.savez(model, **{"a/kernel": np.ones((8, 8), np.float32)})
    swept, plain = folder / "swept.yaml", folder / "plain.yaml"
    matrix = f"matrix: {{by: [{', '.join(map(str, range(count)))}]}}"
    swept.write_text(TRIVIAL.format(model=model, params="", matrix=matrix))
    plain.write_text(TRIVIAL.format(model=model, params="by: 0, ", matrix=""))
    cores, few = len(os.sched_getaffinity(0)), count // 20
    futures = folder / "futures.py"
    futures.write_text(FUTURES)
    loop = " ".join([*SURGERY, "run", "-q", str(plain), "-p", f"out={folder / 'loop'}"])
    jobs = {
        "sweep": ([*SURGERY, "sweep", "-q", swept], count),
        "futures": ([sys.executable, futures, plain, folder / "futures", str(count), str(cores)],
                    count),
        "loop": (["bash", "-c", f"for i in $(seq {few}); do {loop} -p by=$i; done"], few),
    }  # fmt: skip
    times = {job: [] for job in jobs}
    for _ in range(runs):
        for made in ("out", "swept.sweep", "futures", "loop"):
            shutil.rmtree(folder / made, ignore_errors=True)
        for job, (command, number) in jobs.items():
            seconds, _ = measured(command)
            times[job].append(1000 * seconds / number)
    for job in jobs:
        print(f"{job}: {statistics.median(times[job]):.1f} ms a run")
    for peer in ("futures", "loop"):
        ratios = [b / a for a, b in zip(times["sweep"], times[peer], strict=True)]
        print(f"{peer} takes {statistics.median(ratios):.2f} x our time")


def growth(runs, folder):
    for count in (10, 100, 1000, 10_000):
        made = _finished(folder / str(count), count)
        for what in ("status", "table"):
            times = [measured([*SURGERY, "sweep", what, made])[0] for _ in range(runs)]
            print(f"{what} of {count:,} runs: {statistics.median(times):.2f} s")


def _finished(folder, count):
    """The folder of a sweep whose runs have all ended, without the work."""
    from surgery.recipe.matrix import run_id
    from surgery.sweeps.folder import DONE, Record, SweepFolder

    for name in ("runs", "logs", "jobs"):
        (folder / name).mkdir(parents=True)
    values = [{"by": number, "layer": "fc1"} for number in range(count)]
    facts = {"sweep": 1, "recipe": "x.yaml", "recipe_sha256": "", "params": {}, "on": "local",
             "cluster": {}, "runs": values}  # fmt: skip
    (folder / "sweep.json").write_text(json.dumps(facts))
    for number, each in enumerate(values):
        SweepFolder(folder).keep(
            Record(id=run_id(each), index=number, values=each, state=DONE, key="",
                   metrics={"accuracy": number / count, "loss": 1.0}, sparsity=0.1, bytes=1000)
        )  # fmt: skip
    return folder


def prune(runs, folder):
    vgg16(folder)
    source, recipe = folder / "in.keras", folder / "recipe.yaml"
    recipe.write_text(PRUNE.format(source=source, levels=", ".join(LEVELS)))
    script = folder / "script.py"
    script.write_text(SCRIPT)
    plan = subprocess.run([*SURGERY, "sweep", recipe, "--dry-run", "--json"], check=True,
                          capture_output=True, text=True)  # fmt: skip
    said = json.loads(plan.stdout)["memory"] / 2**20
    loop = f"printf '%s\\n' {' '.join(level.rstrip('%') for level in LEVELS)} | xargs -P 2 -I L " \
           f"{sys.executable} {script} {source} {folder}/out/L.keras L"  # fmt: skip
    times = {"ours": [], "Keras": []}
    for _ in range(runs):
        for job, command in (("ours", [*SURGERY, "sweep", "-q", recipe, "--jobs", "2"]),
                             ("Keras", ["bash", "-c", loop])):  # fmt: skip
            shutil.rmtree(folder / "out", ignore_errors=True)
            shutil.rmtree(folder / "recipe.sweep", ignore_errors=True)
            (folder / "out").mkdir()
            with most_memory() as peak:
                seconds, one = measured(command)
            times[job].append(seconds)
            print(f"{job}: {seconds:.1f} s, {one:.0f} MB in one process, {peak[0]:.0f} MB in all")
    ratios = [keras / ours for ours, keras in zip(times["ours"], times["Keras"], strict=True)]
    print(f"the plan said at most {said:.0f} MB a run")
    print(f"16 Keras scripts, two at a time, take {statistics.median(ratios):.1f} x our time")


@contextlib.contextmanager
def most_memory():
    """The most MB that all descendants of this process took together, seen 20 times a second."""
    peak, done = [0.0], threading.Event()

    def look():
        while not done.wait(0.05):
            peak[0] = max(peak[0], sum(map(_pss, _descendants())))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def _descendants():
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found, left = [], [os.getpid()]
    while left:
        children = [pid for pid, parent in parents.items() if parent == left[0]]
        left = left[1:] + children
        found += children
    return found


def _pss(pid):
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("part", choices=["trivial", "growth", "vgg16"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    arguments = parser.parse_args()
    parts = {"trivial": trivial, "growth": growth, "vgg16": prune}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        parts[arguments.part](arguments.runs, Path(temporary))


if __name__ == "__main__":
    main()
