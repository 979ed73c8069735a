"""Files of very many layers in Keras's formats: `inspect`, and a `run` that scales one of them.

    python benchmarks/opening.py                    3,000 weights, medians of three
    python benchmarks/opening.py --counts 3000,20000
    python benchmarks/opening.py --make FOLDER      only make them there

A Sequential of Dense layers of 16 units, each with a kernel and a bias; made without Keras, with
the configs that Keras 3 writes. `start` has one layer: what starting Python and importing take.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from run import measured
from variables import cpu

import surgery
from surgery.architecture import Architecture
from surgery.weights.model import Carried, Model
from surgery.weights.tensor import constant
from surgery.weights.weight import Weight

SUFFIXES = (".keras", ".h5", ".weights.h5")
FORMATS = {".keras": "keras", ".h5": "h5", ".weights.h5": "weights_h5"}
RECIPE = """surgery: 1
load: {path: %s}
steps: [{scale: {select: dense/**, by: 2}}]
export: [{%s: out%s}]
"""
WIDTH = 16


def keras(module, class_name, /, **config):
    """An entry of a config as Keras writes it."""
    return {"module": module, "class_name": class_name, "config": config, "registered_name": None}


def dense(name):
    """The config of a Dense layer."""
    policy = keras("keras", "DTypePolicy", name="float32")
    entry = keras(
        "keras.layers", "Dense", name=name, trainable=True, dtype=policy, units=WIDTH,
        activation="linear", use_bias=True,
        kernel_initializer=keras("keras.initializers", "GlorotUniform", seed=None),
        bias_initializer=keras("keras.initializers", "Zeros"), kernel_regularizer=None,
        bias_regularizer=None, kernel_constraint=None, bias_constraint=None,
    )  # fmt: skip
    return entry | {"build_config": {"input_shape": [None, WIDTH]}}


def model(count):
    """A Sequential with so many weights."""
    names = [f"dense_{number}" if number else "dense" for number in range(max(1, count // 2))]
    shape = {"batch_shape": [None, WIDTH], "dtype": "float32", "name": "input_layer"}
    layers = [keras("keras.layers", "InputLayer", **shape), *map(dense, names)]
    sequential = keras("keras", "Sequential", name="sequential", trainable=True, layers=layers)
    numbers = np.random.default_rng(0).standard_normal((len(names), WIDTH, WIDTH))
    kernels = [constant(kernel) for kernel in numbers.astype(np.float32)]
    bias = constant(np.zeros(WIDTH, np.float32))
    weights = [
        Weight(f"{name}/{variable}", tensor)
        for name, kernel in zip(names, kernels, strict=True)
        for variable, tensor in (("kernel", kernel), ("bias", bias))
    ]
    carried = Carried(keras_version="3.15.0", backend="tensorflow")
    return Model(tuple(weights), Architecture(sequential), carried)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--counts", default="3000")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default=",".join(SUFFIXES), help="suffixes, as in .keras,.h5")
    parser.add_argument("--make", type=Path, help="only make the files, in this folder")
    arguments = parser.parse_args()
    suffixes = [suffix for suffix in SUFFIXES if suffix in arguments.only.split(",")]
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.make or Path(temporary)
        for count in (0, *map(int, arguments.counts.split(","))):
            made = model(count)
            for suffix in suffixes:
                source = folder / f"{count or 'start'}{suffix}"
                surgery.save(made, source)
                if not arguments.make:
                    measure(source, suffix, arguments.runs)


def measure(source, suffix, runs):
    recipe, out = source.parent / "r.yaml", source.parent / f"out{suffix}"
    recipe.write_text(RECIPE % (source, FORMATS[suffix], suffix))
    command = [sys.executable, "-m", "surgery"]
    print(source.name)
    for job in (["inspect", source], ["run", "-q", recipe]):
        found = []
        for _ in range(runs):
            out.unlink(missing_ok=True)
            (source.parent / "r.run.json").unlink(missing_ok=True)
            before = cpu()
            found.append((*measured([*command, *job]), cpu() - before))
        seconds, megabytes, busy = map(statistics.median, zip(*found, strict=True))
        print(f"  {job[0]:8} {seconds:6.2f} s  {busy:6.2f} s of CPU  {megabytes:6,.0f} MB")


if __name__ == "__main__":
    main()
