"""Digits, and a small model to train on them."""

import functools
import json
import shutil

import numpy as np
import pytest

import surgery
from tests.conftest import ROOT
from tests.conftest import command as any_command

command = functools.partial(any_command, imported=["keras"])
DIGITS = ROOT / "recipes" / "data" / "digits.npz"


@pytest.fixture(scope="session")
def digits():
    with np.load(DIGITS) as arrays:
        return dict(arrays)


@pytest.fixture(scope="session")
def small_net(tmp_path_factory):
    """A .keras file: dropout and two Dense layers on digits, with seeded weights."""
    folder = tmp_path_factory.mktemp("net")
    layers = [
        ("InputLayer", {"batch_shape": [None, 8, 8, 1], "name": "image"}),
        ("Flatten", {"name": "flatten"}),
        ("Dense", {"name": "hidden", "units": 12, "activation": "relu"}),
        ("Dropout", {"name": "dropout", "rate": 0.2}),
        ("Dense", {"name": "digit", "units": 10, "activation": "softmax"}),
    ]
    entries = [
        {"module": "keras.layers", "class_name": name, "config": config, "registered_name": None}
        for name, config in layers
    ]
    config = {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "net", "layers": entries},
    }
    (folder / "net.json").write_text(json.dumps(config))
    recipe = {
        "surgery": 1,
        "seed": 1,
        "load": {"config": str(folder / "net.json")},
        "steps": [{"scale": {"select": "hidden/kernel", "by": 0.05}}],
        "export": [{"keras": str(folder / "net.keras")}],
    }
    surgery.run(recipe)
    return folder / "net.keras"


@pytest.fixture
def net(small_net, tmp_path):
    """A copy of it beside the recipe."""
    return shutil.copy(small_net, tmp_path / "net.keras")


def recipe(tmp_path, *steps, load="net.keras", **more):
    """A recipe on the small net, whose paths start at the folder."""
    written = {
        "surgery": 1,
        "name": "r",
        "seed": 3,
        "load": load,
        "steps": list(steps),
        "export": [{"keras": "out/model.keras"}],
        **more,
    }
    path = tmp_path / "r.yaml"
    path.write_text(json.dumps(written))
    return path


def train(**keys):
    """A step that trains on digits."""
    return {
        "train": {
            "data": {"npz": str(DIGITS), "x": "x_train", "y": "y_train"},
            "optimizer": "adam",
            "loss": "sparse_categorical_crossentropy",
            "metrics": ["accuracy"],
            **keys,
        }
    }


TEST_DATA = {"npz": str(DIGITS), "x": "x_test", "y": "y_test"}
