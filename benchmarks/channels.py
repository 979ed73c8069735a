"""`remove_channels` on keras.applications: parameters, differences, seconds and memory.

    python benchmarks/channels.py                     # all of them
    python benchmarks/channels.py ResNet50 VGG16
    python benchmarks/channels.py --trained ResNet50  # with the state of Adam

Weights are drawn by seed. 30 % of the channels of every family go, the lowest by l1. The result is
compared with the old model whose readers see zeros in their place (`tests/structure/oracle.py`).
Seconds and memory are of a process that opens, plans and writes, and imports no TensorFlow.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SIZES = {
    "VGG16": 64, "ResNet50": 64, "MobileNetV2": 64, "MobileNetV3Small": 64, "EfficientNetB0": 64,
    "EfficientNetV2B0": 64, "DenseNet121": 64, "InceptionV3": 96, "Xception": 96,
    "NASNetMobile": 64, "ConvNeXtTiny": 64,
}  # fmt: skip
KEYS = {"select": "**", "amount": "30%", "through_norms": "allow"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="*", default=list(SIZES), help="names of applications")
    parser.add_argument("--trained", action="store_true", help="with optimizer state")
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        step(*arguments.step)
        return
    print("| model | parameters | FLOPs | difference | change | seconds of CPU | memory |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            told = in_child(["--build", name, folder, str(int(arguments.trained))])
            done = in_child([str(Path(__file__)), "--step", f"{folder}/old.keras", folder])
            seconds, memory = done.split()[-2:]
            found = in_child(["--compare", name, folder])
            print(f"| {name} | {told}{found} | {seconds} s | {memory} MB |", flush=True)


def in_child(arguments):
    """What a process of its own prints, whose peak memory begins with that of this one."""
    code = [] if arguments[0].endswith(".py") else [__file__]
    made = subprocess.run(
        [sys.executable, *code, *arguments],
        capture_output=True, text=True, check=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    return made.stdout.strip()


def step(path, folder):
    """Remove channels of a file, and print the seconds and the memory that it took."""
    import surgery

    started = time.process_time()
    after = surgery.remove_channels(surgery.open(path), **KEYS)
    surgery.save(after, keras=f"{folder}/new.keras")
    assert "tensorflow" not in sys.modules
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{time.process_time() - started:.1f} {peak}")


def build(name, folder, trained):
    """Write an application with weights that are drawn."""
    import keras
    import numpy as np

    from tests.keras.nets import randomised

    size = SIZES[name]
    make = getattr(keras.applications, name)
    model = make(weights=None, input_shape=(size, size, 3), classifier_activation=None)
    randomised(model)
    for variable in model.weights:
        if variable.name == "variance":  # of a Normalization
            variable.assign(abs(variable) + 0.5)
    if int(trained):
        model.compile("adam", "mse")
        images = np.zeros((2, size, size, 3), "float32")
        model.fit(images, np.zeros((2, 1000), "float32"), verbose=0)
    model.save(f"{folder}/old.keras")


def compare(_name, folder):
    """Print the parameters and the FLOPs of both models, and how they differ."""
    import keras

    import surgery
    from surgery.architecture.shapes import model_shapes
    from tests.structure import oracle

    before, after = (surgery.open(f"{folder}/{each}.keras") for each in ("old", "new"))
    old, new = (keras.models.load_model(f"{folder}/{each}.keras") for each in ("old", "new"))
    assert new.count_params() == after.parameters
    data = oracle.inputs(old)
    first, mine = oracle.predicted(old, data), oracle.predicted(new, data)
    expected = oracle.predicted(oracle.reference(before, old, KEYS), data)
    flops = [model_shapes(m.architecture.config).total / 1e6 for m in (before, after)]
    print(
        f"{before.parameters:,} -> {after.parameters:,} | {flops[0]:,.0f}M -> {flops[1]:,.0f}M | "
        f"{oracle.difference(expected, mine):.1e} | {oracle.difference(first, mine):.2f}"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--build"]:
        build(*sys.argv[2:])
    elif sys.argv[1:2] == ["--compare"]:
        compare(*sys.argv[2:])
    else:
        main()
