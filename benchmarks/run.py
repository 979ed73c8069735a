"""Ours against Keras and cp: the same edits, in turn; medians, and medians of paired ratios.

    python benchmarks/run.py                     VGG16 (553 MB), three runs
    python benchmarks/run.py --model 4gb         a model of 4 GB, built by seed
    python benchmarks/run.py --model sparse      the same, its pruned kernel 80 % zeros already
    python benchmarks/run.py --only ours,cp      without the slow peers

`bare` is ours without the manifest and its sums.

Each job is a process of its own; its wall time and peak memory are the operating system's.
Nothing here is a test: the figures depend on the machine, only the ratios carry over.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
RECIPE = """surgery: 1
load: {{path: {source}}}
steps:
  - scale: {{select: {scaled}, by: 2}}
  - freeze: {{select: "{frozen}"}}
  - zero: {{select: {pruned}/kernel, lowest: 10%}}
export:
  - keras: {out}/model.keras
  - npy: {out}/weights
"""
QUIET = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}


VGG16 = """surgery: 1
seed: 42
load: {application: VGG16, weights: none}
export:
  - keras: in.keras
"""


def vgg16(folder):
    """Made by another process: Linux counts the memory of the one that starts a process as its."""
    recipe = folder / "make.yaml"
    recipe.write_text(VGG16)
    subprocess.run([sys.executable, "-m", "surgery", "run", "-q", recipe], check=True, env=QUIET)
    layers = {"scaled": "block1_conv1", "pruned": "fc1", "frozen": "block{1..3}_*"}
    return layers, ["block1_", "block2_", "block3_"], ["conv2d", "dense"]


def large(folder, zeros=0.0):
    """16 Dense layers of 8192 x 8192 float32: 4.3 GB."""
    import numpy as np

    import surgery
    from surgery.architecture import Architecture
    from surgery.weights.initializers import initialized
    from surgery.weights.model import Model
    from surgery.weights.weight import Weight

    width, float32 = 8192, np.dtype(np.float32)
    shape = {"batch_shape": [None, width], "dtype": "float32", "name": "in"}
    layer = {"module": "keras.layers", "registered_name": None}
    entries = [{**layer, "class_name": "InputLayer", "config": shape}]
    weights = []
    for number in range(16):
        name = f"d{number}"
        config = {"name": name, "trainable": True, "units": width, "use_bias": True}
        entries.append({**layer, "class_name": "Dense", "config": config})
        for variable, shape in (("kernel", (width, width)), ("bias", (width,))):
            tensor = initialized("HeUniform", {}, shape, float32, 1, name, variable)
            weights.append(Weight(f"{name}/{variable}", tensor))
    config = {"module": "keras", "class_name": "Sequential", "registered_name": None,
              "config": {"name": "large", "trainable": True, "layers": entries}}  # fmt: skip
    model = Model(tuple(weights), Architecture(config))
    if zeros:
        model = surgery.zero(model, "d8/kernel", lowest=zeros)
    surgery.save(model, keras=folder / "in.keras")
    layers = {"scaled": "d0", "pruned": "d8", "frozen": "d{1..3}"}
    return layers, ["d1", "d2", "d3"], ["dense", "dense_8"]


def measured(command, allowed=(0,)):
    """Wall seconds and peak MB of a process."""
    os.sync()
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, env=QUIET)
        _, status, usage = os.wait4(process.pid, 0)
        if os.waitstatus_to_exitcode(status) not in allowed:
            log.seek(0)
            sys.exit(f"failed: {' '.join(map(str, command))}\n{log.read()}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def phases(recipe):
    """Seconds that each pass of our own run takes."""
    from surgery.execution.execute import execute
    from surgery.execution.planning import make_plan
    from surgery.execution.progress import Silent
    from surgery.recipe.reading import read_recipe

    class Clock(Silent):
        def __init__(self):
            self.marks = [("checking and planning", time.perf_counter())]

        def phase(self, name, total):
            self.marks.append((name, time.perf_counter()))

    clock = Clock()
    execute(make_plan(read_recipe(recipe)), clock)
    ends = [at for _, at in clock.marks[1:]] + [time.perf_counter()]
    for (name, start), end in zip(clock.marks, ends, strict=True):
        print(f"  {name:22} {end - start:6.2f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", choices=["vgg16", "4gb", "sparse"], default="vgg16")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default="ours,bare,cp,keras,editor")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        compare(arguments, Path(temporary))


def compare(arguments, folder):
    make = {"vgg16": vgg16, "4gb": large, "sparse": lambda f: large(f, 0.8)}[arguments.model]
    layers, frozen, groups = make(folder)
    out, source = folder / "out", folder / "in.keras"
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.format(source=source, out=out, **layers))
    copied = folder / "ours"
    copy = f"cp -r {copied} {out} && sync"
    edits = [source, out, layers["scaled"], layers["pruned"]]
    jobs = {
        "ours": [sys.executable, "-m", "surgery", "run", "-q", "--force", recipe],
        "bare": [sys.executable, "-m", "surgery", "run", "-q", "--force", "--no-manifest", recipe],
        "cp": ["sh", "-c", copy],
        "keras": [sys.executable, HERE / "keras_script.py", *edits, *frozen],
        "editor": [sys.executable, HERE / "keras_file_editor.py", source, out, *groups],
    }
    jobs = {name: job for name, job in jobs.items() if name in arguments.only.split(",")}
    found = {name: [] for name in jobs}
    measured(
        [sys.executable, "-m", "surgery", "run", "-q", "--no-manifest", recipe]
    )  # warms caches
    out.rename(copied)
    for _ in range(arguments.runs):
        for name, job in jobs.items():
            # A copy that is thrown away, so that each job finds memory and disk as the others do.
            subprocess.run(["sh", "-c", copy], check=True)
            shutil.rmtree(out)
            found[name].append(measured(job))
            shutil.rmtree(out)
    megabytes = source.stat().st_size / 1e6
    print(f"{arguments.model}: {megabytes:.0f} MB, {arguments.runs} runs, medians")
    for name, runs in found.items():
        seconds, peak = (statistics.median(figures) for figures in zip(*runs, strict=True))
        pairs = zip(found.get("ours", []), runs, strict=False)
        ratios = [theirs[0] / ours[0] for ours, theirs in pairs]
        ratio = f"{statistics.median(ratios):6.2f} x ours" if ratios else ""
        print(f"  {name:7} {seconds:7.2f} s  {peak:7.0f} MB  {ratio}")
    print("what each pass of ours costs:")
    phases(recipe)
    if arguments.model == "vgg16":
        for name in (["--help"], ["inspect", str(source)]):
            runs = [measured([sys.executable, "-m", "surgery", *name])[0] for _ in range(7)]
            print(f"  surgery {name[0]:10} {statistics.median(runs):.2f} s")


if __name__ == "__main__":
    main()
