"""What the classes of Keras 2 take, measured with the real ones.

It makes `surgery/architecture/downgrades/arguments.json`.

`python -m tests.keras.keras2_table PYTHON...`, each with a TensorFlow between 2.12 and 2.15. It
asks these, and tf_keras and Keras here, and writes what all of them have in common. `--older
FOLDER`, where an older Keras 3 is installed, adds the keys that only that one writes.
"""

import argparse
import copy
import importlib
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

PLACE = Path(__file__).parents[2] / "surgery/architecture/downgrades/arguments.json"
KINDS = ("layers", "initializers", "regularizers", "constraints", "optimizers", "schedules",
         "losses", "metrics")  # fmt: skip
BASE = ["name", "trainable", "dtype"]
# Arguments without which a class makes no instance.
NEEDED = {
    "Activation": ["relu"], "AveragePooling1D": [2], "AveragePooling2D": [2],
    "AveragePooling3D": [2], "CategoryEncoding": [3], "CenterCrop": [2, 2],
    "Conv1D": [2, 2], "Conv1DTranspose": [2, 2], "Conv2D": [2, 2], "Conv2DTranspose": [2, 2],
    "Conv3D": [2, 2], "Conv3DTranspose": [2, 2], "ConvLSTM1D": [2, 2], "ConvLSTM2D": [2, 2],
    "ConvLSTM3D": [2, 2], "Dense": [2], "DepthwiseConv1D": [2], "DepthwiseConv2D": [2],
    "Discretization": [[0.0]], "Dot": [1], "Dropout": [0.5], "AlphaDropout": [0.5],
    "EinsumDense": ["ab,bc->ac", 2], "Embedding": [2, 2], "GRU": [2], "GRUCell": [2],
    "GaussianDropout": [0.5], "GaussianNoise": [0.5], "HashedCrossing": [3], "Hashing": [3],
    "LSTM": [2], "LSTMCell": [2], "MultiHeadAttention": [2, 2], "Permute": [[1]],
    "RandomBrightness": [0.5], "RandomContrast": [0.5], "RandomCrop": [2, 2],
    "RandomRotation": [0.5], "RandomTranslation": [0.5, 0.5], "RandomZoom": [0.5],
    "RepeatVector": [2], "Rescaling": [0.5], "Reshape": [[2]], "Resizing": [2, 2],
    "SeparableConv1D": [2, 2], "SeparableConv2D": [2, 2], "SimpleRNN": [2], "SimpleRNNCell": [2],
    "SpatialDropout1D": [0.5], "SpatialDropout2D": [0.5], "SpatialDropout3D": [0.5],
    "Constant": [], "CosineDecay": [0.1, 2], "CosineDecayRestarts": [0.1, 2],
    "ExponentialDecay": [0.1, 2, 0.5], "InverseTimeDecay": [0.1, 2, 0.5],
    "PiecewiseConstantDecay": [[1], [0.1, 0.2]], "PolynomialDecay": [0.1, 2], "MeanIoU": [2],
    "IoU": [2, [0]], "OneHotIoU": [2, [0]], "OneHotMeanIoU": [2], "PrecisionAtRecall": [0.5],
    "RecallAtPrecision": [0.5], "SensitivityAtSpecificity": [0.5],
    "SpecificityAtSensitivity": [0.5],
}  # fmt: skip
ACTIVATIONS = [
    "celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu",
    "hard_swish", "hard_tanh", "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish",
    "relu", "relu6", "selu", "sigmoid", "silu", "softmax", "soft_shrink", "softplus", "softsign",
    "sparse_plus", "sparse_sigmoid", "sparsemax", "squareplus", "swish", "tanh", "tanh_shrink",
    "threshold",
]  # fmt: skip
GRID = [[i / 8 - 6 for i in range(j, j + 8)] for j in range(0, 97, 8)]


def ask(keras):
    """What one Keras says of its classes."""
    found = {
        "activations": activations(keras),
        "losses_by_name": names(keras, "losses"),
        "metrics_by_name": ["acc", "accuracy", "ce", "crossentropy", *names(keras, "metrics")],
    }
    for kind in KINDS:
        found[kind] = {
            name: row
            for name, cls in vars(module_of(keras, kind)).items()
            if inspect.isclass(cls)
            and hasattr(cls, "get_config")
            and name == cls.__name__ not in ("InputSpec", "Layer")
            and (row := describe(keras, kind, cls))
        }
    return found


def names(keras, kind):
    """The texts by which losses or metrics are given."""
    known = getattr(sys.modules.get(f"keras.src.{kind}"), "ALL_OBJECTS_DICT", None)
    return sorted(known or vars(getattr(keras, kind)))


def activations(keras):
    values = {}
    for name in ACTIVATIONS:
        try:
            made = keras.activations.get(name)(keras.backend.constant(GRID)
                                               if hasattr(keras.backend, "constant")
                                               else keras.ops.convert_to_tensor(GRID))  # fmt: skip
            values[name] = [[float(v) for v in row] for row in made]
        except Exception:  # it has none of that name
            continue
    return values


def describe(keras, kind, cls):
    layers = keras.layers
    own = [p.name for p in list(inspect.signature(cls.__init__).parameters.values())[1:]
           if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]  # fmt: skip
    needed = {
        "Bidirectional": lambda: [layers.LSTM(2)],
        "RNN": lambda: [layers.LSTMCell(2)],
        "StackedRNNCells": lambda: [[layers.LSTMCell(2)]],
        "TimeDistributed": lambda: [layers.Dense(2)],
        "SpectralNormalization": lambda: [layers.Dense(2)],
    }.get(cls.__name__, lambda: NEEDED.get(cls.__name__, []))
    try:
        config = cls(*needed()).get_config()
    except Exception:  # abstract, or needs what a file cannot hold
        if cls.__name__ != "InputLayer":
            return None
        config = cls(batch_size=2, **{own[0]: (2,)}).get_config()
    is_old = not hasattr(keras, "ops")
    # Without `Custom>` it is the optimizer of TensorFlow 2.10 and older that is found.
    found_as = f"Custom>{cls.__name__}" if kind == "optimizers" else cls.__name__
    if is_old and not is_found(module_of(keras, kind), found_as, config):
        return None
    base = BASE if kind == "layers" and cls.__name__ != "InputLayer" else []
    row = {
        "arguments": sorted({*own, *config, *base, *not_shown(cls, config)}),
        "defaults": {
            k: plain(v)
            for k, v in config.items()
            if k not in own[: len(needed())] and k != "batch_shape"
        },
    }
    if kind == "layers":
        taken = list(inspect.signature(cls.call).parameters.values())[1:]
        row["call"] = [p.name for p in taken if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        row["trains"] = any(p.name == "training" and p.default is True for p in taken)
    return row


def not_shown(cls, config):
    """What recurrent layers of Keras 2 take, and have in their config only where it is given."""
    if cls.__name__ not in ("GRU", "LSTM", "RNN", "SimpleRNN"):
        return []
    given = copy.deepcopy({**config, "zero_output_for_mask": True})
    return set(cls.from_config(given).get_config()) - set(config)


def module_of(keras, kind):
    return keras.optimizers.schedules if kind == "schedules" else getattr(keras, kind)


def is_found(module, class_name, config):
    """Whether a config that names the class is read again; SpectralNormalization's is not."""
    try:
        module.deserialize({"class_name": class_name, "config": copy.deepcopy(config)})
    except Exception:  # whatever stands against it
        return False
    return True


def plain(value):
    """A default as JSON; an object is its class's name."""
    if isinstance(value, dict):
        return value.get("class_name", value)
    try:
        return json.loads(json.dumps(value))
    except TypeError:
        return str(value)


def common(kind, olds, news):
    """The rows of classes that Keras 2 and 3 both have, in the form of the table."""
    rows = {}
    for name in sorted(set(news[0][kind]).intersection(*(old[kind] for old in olds))):
        having = [old[kind][name] for old in olds]
        takes = set.intersection(*(set(row["arguments"]) for row in having))
        defaults = having[0]["defaults"]
        new = {}
        for row in (old[kind].get(name, {"defaults": {}}) for old in reversed(news)):
            new.update(row["defaults"])
        differ = {
            key: value
            for key, value in new.items()
            if key not in [*BASE, "seed"]
            and (key not in takes or defaults.get(key, value) != value)
        }
        rows[name] = {"takes": sorted(takes), "differ": dict(sorted(differ.items()))}
        if kind == "layers":
            rows[name]["call"] = having[0]["call"]
            rows[name]["call_in_keras3"] = news[0][kind][name]["call"]
            if news[0][kind][name]["trains"]:
                rows[name]["trains_by_default"] = True
    return rows


def near(values, others):
    return values is not None and all(
        abs(a - b) < 1e-5
        for row, other in zip(values, others, strict=True)
        for a, b in zip(row, other, strict=True)
    )


def answer(python, *options, folder=""):
    """The same, asked of another Python."""
    environment = {**os.environ, "PYTHONPATH": folder}
    command = [python, __file__, "--ask", *options]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("pythons", nargs="*")
    parser.add_argument("--older", action="append", default=[])
    parser.add_argument("--ask", action="store_true")
    parser.add_argument("--which", default="tensorflow")
    options = parser.parse_args()
    if options.ask:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        if options.which == "tensorflow":
            from tensorflow import keras
        else:
            keras = importlib.import_module(options.which)
        print(json.dumps(ask(keras)))
        return
    olds = [answer(python) for python in options.pythons]
    olds.append(answer(sys.executable, "--which", "tf_keras"))
    news = [answer(sys.executable, "--which", "keras", folder=f) for f in ["", *options.older]]
    table = {kind: common(kind, olds, news) for kind in KINDS}
    equal = [name for name, values in news[0]["activations"].items()
             if all(near(old["activations"].get(name), values) for old in olds)]  # fmt: skip
    lines = [f' "activations": {json.dumps(sorted(equal))}']
    for kind in ("losses_by_name", "metrics_by_name"):
        shared = set(news[0][kind]).intersection(*(old[kind] for old in olds))
        names = sorted(name for name in shared if not name.startswith("_"))
        lines.append(f" {json.dumps(kind)}: {json.dumps(names)}")
    for kind, rows in table.items():
        inner = ",\n".join(f"  {json.dumps(n)}: {json.dumps(row)}" for n, row in rows.items())
        lines.append(f" {json.dumps(kind)}: {{\n{inner}\n }}")
    PLACE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
