"""Odd but valid models work."""

import json
import struct
import time
import zipfile

import h5py
import numpy as np
import pytest

import surgery
from surgery.architecture import Architecture
from surgery.weights.model import Model
from surgery.weights.tensor import constant
from surgery.weights.weight import Weight
from tests.conftest import command, many_layers, same_bytes, streamed_formats, values

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


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["stored", "packed"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["f4", ">f4", ">f8", ">f2", ">i4", ">u2", ">c8", "?"])
def test_arrays_of_any_order(save, order, kind, tmp_path):
    arrays = {
        f"x{len(shape)}": np.asarray(np.arange(60).reshape(shape), kind, order=order)
        for shape in ((60,), (4, 15), (3, 4, 5))
    }
    save(tmp_path / "m.npz", **arrays, empty=np.zeros((0, 3), kind), scalar=np.asarray(1, kind))
    opened = values(surgery.open(tmp_path / "m.npz"))
    surgery.save(surgery.open(tmp_path / "m.npz"), npy=tmp_path / "out")
    for name, array in arrays.items():
        assert np.array_equal(opened[name], array)
        assert np.array_equal(np.load(tmp_path / f"out/{name}.npy"), array)
        np.save(tmp_path / f"out/{name}.npy", array)  # as it was, big-endian and in its order
    assert {n: a.tobytes() for n, a in values(surgery.open(tmp_path / "out")).items()} == {
        n: a.tobytes() for n, a in opened.items()
    }


TREE = {
    "params/dense/w": np.ones((2, 3), np.float32),
    "params/dense/vars/scale": np.ones(3, np.float64),
    "epoch": np.asarray(3),
    "flags": np.array([True, False]),
}


@pytest.mark.parametrize("first", TREE)
@pytest.mark.parametrize("options", [{}, {"libver": "latest"}, {"userblock_size": 1024}])
def test_any_tree_of_datasets(first, options, tmp_path):
    with h5py.File(tmp_path / "tree", "w", **options) as file:
        for name, array in {first: TREE[first], **TREE}.items():
            file[name] = array
        file.attrs["format"] = "somebody's"
        file["params/dense"].attrs["trainable"] = [1, 2]
        file["epoch"].attrs["trainable"] = "no"
        file["author"] = "somebody"
    opened = surgery.open(tmp_path / "tree")
    assert (opened.format, [w.trainable for w in opened.weights]) == ("hdf5", [None] * 4)
    assert opened.notes == ("datasets that are not numeric arrays are left out: author",)
    surgery.save(opened, hdf5=tmp_path / "out.hdf5")
    for name, array in TREE.items():
        assert np.array_equal(values(surgery.open(tmp_path / "out.hdf5"))[name], array)


@pytest.mark.parametrize("name", ["weights_h5", "h5", "hdf5"])
@pytest.mark.parametrize("options", [{"libver": "latest"}, {"userblock_size": 512},
                                     {"userblock_size": 4096, "libver": "latest"},
                                     {"track_order": True}])  # fmt: skip
def test_hdf5_files_of_other_kinds(name, options, tmp_path):
    model = many_layers(3)
    surgery.save(model, **{name: tmp_path / "plain"})
    with (
        h5py.File(tmp_path / "plain") as old,
        h5py.File(tmp_path / "other", "w", **options) as new,
    ):
        new.attrs.update(old.attrs)
        for key in old:
            old.copy(key, new)
    opened = surgery.open(tmp_path / "other")
    assert opened.format == name
    assert same_bytes(opened, surgery.open(tmp_path / "plain"))


@pytest.mark.parametrize("name", ["weights_h5", "h5", "hdf5"])
def test_a_file_that_h5py_has_open_to_be_written(name, tmp_path):
    model = many_layers(3)
    surgery.save(model, **{name: tmp_path / "m"})
    with h5py.File(tmp_path / "m", "r+"):
        assert same_bytes(surgery.open(tmp_path / "m"), model)


def test_datasets_packed_by_lzf(tmp_path):
    rng = np.random.default_rng(0)
    kinds = [rng.integers(0, 3, (50, 40)), np.repeat(rng.random(40), 50), rng.random((50, 40))]
    with h5py.File(tmp_path / "m.h5", "w") as file:
        for number in range(12):
            array = kinds[number % 3].reshape(50, 40).astype(np.float32)
            file.create_dataset(
                str(number), data=array, chunks=(33, 21), compression="lzf",
                shuffle=number % 2 == 0, fletcher32=number % 4 == 0,
            )  # fmt: skip
    for name, array in values(surgery.open(tmp_path / "m.h5")).items():
        assert np.array_equal(array, kinds[int(name) % 3].reshape(50, 40).astype(np.float32))


def test_thirty_thousand_tensors_in_a_safetensors_file(tmp_path):
    header = {
        f"model.layers.{i}.weight": {
            "dtype": "F32", "shape": [1], "data_offsets": [4 * i, 4 * i + 4]
        }
        for i in range(30_000)
    }  # fmt: skip
    text = json.dumps(header).encode()
    data = np.arange(30_000, dtype="<f4").tobytes()
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    limits = {"RLIMIT_CPU": 5}
    done = command("inspect", "m.safetensors", "--stats", cwd=tmp_path, limits=limits)
    assert done.returncode == 0, done.stderr
    assert "safetensors: 30,000 weights, 30,000 parameters, 120.0 kB" in done.stdout
    assert done.megabytes < 300
