"""How much each of 8 kernels of the digits CNN matters, at 6 levels: ours against a Keras loop.

    python benchmarks/sensitivity.py

The loop is what one writes by hand: load_model, set_weights, evaluate, for every point. Both are
processes of their own, in turn, and both import TensorFlow; the ratio is the median of paired ones.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from run import HERE, measured

ROOT = HERE.parent
LOOP = """
import sys
import keras, numpy as np
path, data, out = sys.argv[1:]
with np.load(data) as arrays:
    x, y = arrays["x_test"], arrays["y_test"]
model = keras.saving.load_model(path)
kernels = [n for n, w in enumerate(model.weights) if w.name == "kernel"]
with open(out, "w") as file:
    for number in kernels:
        for level in (0.2, 0.4, 0.6, 0.8, 0.9, 0.95):
            model = keras.saving.load_model(path)
            weights = model.get_weights()
            flat = weights[number].reshape(-1)
            flat[np.argsort(np.abs(flat), kind="stable")[: int(level * len(flat) + 1e-9)]] = 0
            model.set_weights(weights)
            loss, accuracy = model.evaluate(x, y, verbose=0)
            print(model.weights[number].path, level, accuracy, file=file)
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        compare(arguments.runs, Path(temporary))


def compare(runs, folder):
    surgery = [sys.executable, "-m", "surgery"]
    recipe = ROOT / "recipes" / "digits-train.yaml"
    subprocess.run([*surgery, "run", "-q", recipe, "-p", f"out={folder}"], check=True)
    digits, model = ROOT / "recipes" / "data" / "digits.npz", folder / "digits.keras"
    data = json.dumps({"npz": str(digits), "x": "x_test", "y": "y_test"})
    table, listed = folder / "ours.csv", folder / "loop.txt"
    jobs = {
        "ours": [*surgery, "sensitivity", model, "--data", data, "-q", "--csv", table],
        "loop": [sys.executable, "-c", LOOP, model, digits, listed],
    }
    times = {job: [] for job in jobs}
    memory = dict.fromkeys(jobs, 0.0)
    for _ in range(runs):
        table.unlink(missing_ok=True)
        for job, command in jobs.items():
            seconds, peak = measured(command)
            times[job].append(seconds)
            memory[job] = max(memory[job], peak)
    ours = [float(line.split(",")[4]) for line in table.read_text().splitlines()[2:]]
    loop = [float(line.split()[-1]) for line in listed.read_text().splitlines()]
    assert len(ours) == len(loop) == 48
    assert max(abs(a - b) for a, b in zip(ours, loop, strict=True)) < 1e-6, "other findings"
    for job in jobs:
        print(f"{job}: {statistics.median(times[job]):.1f} s, {memory[job]:.0f} MB")
    ratios = [loop / ours for ours, loop in zip(times["ours"], times["loop"], strict=True)]
    print(f"the loop takes {statistics.median(ratios):.1f} x our time")


if __name__ == "__main__":
    main()
