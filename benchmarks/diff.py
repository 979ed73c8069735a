"""Two models of 4.3 GB compared: `surgery diff` against `cmp`.

    python benchmarks/diff.py

The other model has the same bytes, or one bias of 16 changed, or every element changed. `cmp`
stops at the first byte that differs, so it always compares the two that are the same.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from run import measured

WIDTH, COUNT = 8192, 16
OTHERS = ("same", "last", "all")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        folder = Path(temporary)
        build(folder)
        compare(arguments.runs, folder)


def build(folder):
    """The model by seed, and the others from it."""
    layers = [{"class_name": "InputLayer", "config": {"batch_shape": [None, WIDTH], "name": "in"}}]
    layers += [
        {"class_name": "Dense", "config": {"name": f"d{n}", "units": WIDTH, "use_bias": True}}
        for n in range(COUNT)
    ]
    layers = [{"module": "keras.layers", "registered_name": None, **layer} for layer in layers]
    config = {"module": "keras", "class_name": "Sequential", "registered_name": None,
              "config": {"name": "big", "layers": layers}}  # fmt: skip
    (folder / "big.json").write_text(json.dumps(config))
    last = [{"shift": {"select": f"d{COUNT - 1}/bias", "by": 1}}]
    recipes = {
        "drawn": ({"config": "big.json"}, []),
        "model": ("drawn.keras", []),
        "same": ("model.keras", []),
        "last": ("model.keras", last),
        "all": ("model.keras", [{"scale": {"select": "**", "by": 1.5}}]),
    }
    for name, (load, steps) in recipes.items():
        recipe = {"surgery": 1, "name": name, "load": load, "steps": steps,
                  "export": [{"keras": f"{name}.keras"}]}  # fmt: skip
        (folder / f"{name}.yaml").write_text(json.dumps(recipe))
        run = [sys.executable, "-m", "surgery", "run", "-q", "--no-manifest"]
        subprocess.run([*run, folder / f"{name}.yaml"], check=True)
        if name == "model":
            (folder / "drawn.keras").unlink()


def compare(runs, folder):
    """All jobs in turn, each against the `cmp` of its own round."""
    model = folder / "model.keras"
    diff = [sys.executable, "-m", "surgery", "diff", model]
    jobs = {"cmp": ["cmp", model, folder / "same.keras"]}
    jobs |= {name: [*diff, folder / f"{name}.keras"] for name in OTHERS}
    times = {job: [] for job in jobs}
    memory = dict.fromkeys(jobs, 0.0)
    for number in range(runs + 1):
        for job, command in jobs.items():
            seconds, peak = measured(command, allowed=(0, 1))
            memory[job] = max(memory[job], peak)
            if number:  # the first round fills the page cache
                times[job].append(seconds)
    for job in jobs:
        ratios = [ours / peer for ours, peer in zip(times[job], times["cmp"], strict=True)]
        shown = f"{statistics.median(times[job]):.2f} s, {memory[job]:.0f} MB"
        print(f"{job}: {shown}, {statistics.median(ratios):.2f} x cmp", flush=True)


if __name__ == "__main__":
    main()
