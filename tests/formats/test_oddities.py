"""Odd but valid models work."""

import time
import zipfile

import numpy as np
import pytest

import surgery
from surgery.architecture import Architecture
from surgery.weights.model import Model
from surgery.weights.tensor import constant
from surgery.weights.weight import Weight
from tests.conftest import many_layers, same_bytes, streamed_formats

ODD = {
    "scalar/x": np.array(3.5, np.float32),
    "empty/x": np.zeros((3, 0), np.float32),
    "ünïcode/ключ": np.ones(2, np.float32),
    "with space/a b": np.ones(2, np.float32),
    "dots.in.name/v1.0": np.ones(2, np.float32),
    "deep/er/and/deep/er": np.ones(2, np.float32),
}


@pytest.mark.parametrize(
    "name",
    [n for n in streamed_formats() if n not in ("keras", "h5", "weights_h5", "weights_json")],
)
def test_odd_names_and_shapes(name, tmp_path):
    odd = Model(tuple(Weight(key, constant(value)) for key, value in ODD.items()))
    surgery.save(odd, **{name: tmp_path / "o"})
    back = surgery.open(tmp_path / "o")
    assert same_bytes(back, odd)
    assert sorted(w.address for w in back.weights) == sorted(ODD)


# Keras, which knows the objects of a checkpoint, cannot build so many layers.
@pytest.mark.parametrize("name", [n for n in streamed_formats() if n != "checkpoint"])
def test_two_thousand_layers(name, tmp_path):
    many = many_layers(2000)
    started = time.monotonic()
    surgery.save(surgery.scale(many, "layer_*/kernel", by=2), **{name: tmp_path / "many"})
    back = surgery.open(tmp_path / "many")
    assert len(back.weights) == 4000
    assert np.array_equal(
        back["layer_1999/kernel"].tensor.numpy(), many["layer_1999/kernel"].tensor.numpy() * 2
    )
    assert time.monotonic() - started < 60  # not quadratic


def nested(depth):
    entry = {"class_name": "Dense", "module": "keras.layers", "registered_name": None,
             "config": {"name": "dense", "trainable": True, "units": 2}}  # fmt: skip
    address = "dense"
    for level in range(depth):
        config = {"name": f"m{level}", "trainable": True, "layers": [entry]}
        entry = {"module": "keras", "class_name": "Sequential", "registered_name": None,
                 "config": config}  # fmt: skip
        address = f"m{level}/{address}" if level < depth - 1 else address
    weights = (Weight(f"{address}/kernel", constant(np.eye(2, dtype=np.float32))),
               Weight(f"{address}/bias", constant(np.ones(2, np.float32))))  # fmt: skip
    return Model(weights, Architecture(entry))


@pytest.mark.parametrize("name", ["keras", "h5", "weights_h5", "npy"])
def test_models_nested_thirty_deep(name, tmp_path):
    deep = nested(30)
    surgery.save(surgery.freeze(deep, "**"), **{name: tmp_path / "deep"})
    back = surgery.open(tmp_path / "deep")
    assert same_bytes(back, deep)


def test_zip64_archives_of_others(tmp_path):
    surgery.save(many_layers(2), keras=tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "other.keras", "w", allowZip64=True) as archive:
        for name, data in entries.items():
            with archive.open(name, "w", force_zip64=True) as file:
                file.write(data)
    assert same_bytes(surgery.open(tmp_path / "other.keras"), surgery.open(tmp_path / "m.keras"))
