"""One tensor of a 1.1 GB safetensors file scaled: ours against the safetensors library and cp.

    python benchmarks/safetensors.py               five runs
    python benchmarks/safetensors.py --only ours,plan,cp

`cp` is `cp SRC DST && sync DST`, `plan` is what ours does before it writes: starting Python,
importing, reading headers. Built by seed; each job is a process of its own, in turn, and the
output is removed before each.
"""

import argparse
import json
import statistics
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from run import measured

WIDTH, COUNT = 4096, 17
RECIPE = """surgery: 1
load: {path: in.safetensors}
steps: [{scale: {select: w03, by: 2}}]
export: [{safetensors: out.safetensors}]
"""
BY_THE_LIBRARY = """
import sys
from safetensors.numpy import load_file, save_file
tensors = load_file(sys.argv[1])
tensors["w03"] *= 2
save_file(tensors, sys.argv[2])
"""


def build(path):
    import numpy as np

    size = WIDTH * WIDTH * 4
    header = {
        f"w{number:02}": {"dtype": "F32", "shape": [WIDTH, WIDTH],
                          "data_offsets": [number * size, (number + 1) * size]}
        for number in range(COUNT)
    }  # fmt: skip
    text = json.dumps(header).encode()
    generator = np.random.default_rng(1)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _ in range(COUNT):
            file.write(generator.random((WIDTH, WIDTH), dtype=np.float32))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="ours,bare,plan,cp,library")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        compare(arguments, Path(temporary))


def compare(arguments, folder):
    source, out = folder / "in.safetensors", folder / "out.safetensors"
    recipe, manifest = folder / "recipe.yaml", folder / "out.safetensors.run.json"
    # Another process builds it: Linux counts the memory of the one that starts a process as its.
    command = "import sys, pathlib, safetensors as here; here.build(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", command, source], check=True, cwd=Path(__file__).parent)
    recipe.write_text(RECIPE)
    ours = [sys.executable, "-m", "surgery", "run", "-q", "--force", recipe]
    jobs = {
        "ours": ours,
        "bare": [*ours, "--no-manifest"],
        "plan": [sys.executable, "-m", "surgery", "plan", recipe],
        "cp": ["sh", "-c", f"cp {source} {out} && sync {out}"],
        "library": [sys.executable, "-P", "-c", BY_THE_LIBRARY, source, out],
    }
    jobs = {name: job for name, job in jobs.items() if name in arguments.only.split(",")}
    found = {name: [] for name in jobs}
    for _ in range(arguments.runs):
        for name, job in jobs.items():
            for old in (out, manifest):
                old.unlink(missing_ok=True)
            found[name].append(measured(job))
    print(f"{source.stat().st_size / 1e9:.2f} GB, {arguments.runs} runs, medians")
    for name, runs in found.items():
        seconds = statistics.median(s for s, _ in runs)
        copied = zip(runs, found.get("cp", ()), strict=False)
        ratios = [own / cp for (own, _), (cp, _) in copied]
        peak = max(megabytes for _, megabytes in runs)
        ratio = f"{statistics.median(ratios):5.2f} x cp" if ratios else ""
        print(f"  {name:8} {seconds:6.2f} s  {peak:6,.0f} MB  {ratio}")
    if {"ours", "plan", "cp"} <= jobs.keys():
        rows = zip(found["ours"], found["plan"], found["cp"], strict=True)
        net = statistics.median((ours[0] - plan[0]) / cp[0] for ours, plan, cp in rows)
        print(f"  ours without plan: {net:.2f} x cp")


if __name__ == "__main__":
    main()
