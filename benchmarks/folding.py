"""`fold_batchnorm` on keras.applications: layers, differences, and the time of a prediction.

    python benchmarks/folding.py                     # all of them
    python benchmarks/folding.py ResNet50 VGG16

Weights are drawn by seed, those of BatchNormalization too. A prediction is `predict_on_batch` of 16
images; before and after take turns, and the time is the median of the seconds of CPU.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

import surgery

SIZES = {
    "VGG16": 64, "ResNet50": 64, "MobileNetV2": 64, "MobileNetV3Small": 64, "EfficientNetB0": 64,
    "DenseNet121": 64, "InceptionV3": 96, "Xception": 96, "NASNetMobile": 64,
}  # fmt: skip
BATCH = 16


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="*", default=list(SIZES), help="names of applications")
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    print("| model | folded | stay | parameters | apply and save | difference | predict |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            print(row(name, Path(folder), arguments.runs), flush=True)


def row(name, folder, runs):
    """A line of the table."""
    import keras

    size = SIZES[name]
    build = getattr(keras.applications, name)
    theirs = build(weights=None, input_shape=(size, size, 3), classifier_activation=None)
    theirs.save(folder / "built.keras")
    model = drawn(surgery.open(folder / "built.keras"))
    surgery.save(model, keras=folder / "before.keras")
    started = time.process_time()
    before = surgery.open(folder / "before.keras")
    after = surgery.fold_batchnorm(before)
    surgery.save(after, keras=folder / "after.keras")
    took = time.process_time() - started
    models = [keras.models.load_model(folder / f"{each}.keras") for each in ("before", "after")]
    images = np.random.default_rng(0).normal(size=(BATCH, size, size, 3)).astype("float32")
    one, two = (each.predict_on_batch(images).astype("float64") for each in models)
    difference = np.abs(one - two).max() / np.abs(one).max()
    seconds = ([], [])
    for _ in range(runs):
        for own, each in zip(seconds, models, strict=True):
            started = time.process_time()
            each.predict_on_batch(images)
            own.append(time.process_time() - started)
    old, new = map(statistics.median, seconds)
    norms = [sum(n.class_name == "BatchNormalization" for n in each.architecture.layers)
             for each in (before, after)]  # fmt: skip
    return (
        f"| {name} | {norms[0] - norms[1]} | {norms[1]} "
        f"| {before.parameters:,} -> {after.parameters:,} | {took:.2f} s | {difference:.1e} "
        f"| {old * 1000:.0f} -> {new * 1000:.0f} ms ({new / old:.2f} x) |"
    )


def drawn(model):
    """Weights of which none is zero or one: Keras's own first values are 1 and 0."""
    kernels = {"variable": ["kernel", "pointwise_kernel", "depthwise_kernel"]}
    model = surgery.reinitialize(model, kernels, initializer="HeNormal")
    uniform = {"distribution": "uniform", "allow_empty": True}
    factors = {"variable": ["gamma", "moving_variance"]}
    model = surgery.noise(model, factors, std=0.25, **uniform)
    return surgery.noise(model, {"variable": ["beta", "bias", "moving_mean"]}, std=0.1, **uniform)


if __name__ == "__main__":
    main()
