"""What we write is read by the programs that the formats belong to, and the other way round."""

import csv
import json
import warnings

import h5py
import ml_dtypes
import numpy as np
import pytest

import surgery
from surgery.errors import FormatError
from surgery.weights.model import Model
from surgery.weights.tensor import constant
from surgery.weights.weight import Weight
from tests.conftest import many_layers, same_bytes, values

ARRAYS = {
    "a/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a/deep/er/bias": np.array([1, -2], np.int8),
    "scalar": np.array(2.5),
    "empty": np.zeros((0, 3), np.float16),
    "flags": np.array([True, False]),
    "ü b": np.array([1 << 40]),
}


@pytest.fixture
def model():
    return Model(tuple(Weight(name, constant(value)) for name, value in ARRAYS.items()))


def check(found):
    assert set(found) == set(ARRAYS)
    for name, value in ARRAYS.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)


def test_numpy_and_npz(model, tmp_path):
    surgery.save(model, npz=tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz") as archive:
        check(dict(archive))
    np.savez(tmp_path / "plain.npz", **ARRAYS)
    check(values(surgery.open(tmp_path / "plain.npz")))
    np.savez_compressed(tmp_path / "small.npz", **ARRAYS)
    check(values(surgery.open(tmp_path / "small.npz")))
    np.savez(tmp_path / "fortran.npz", x=np.asfortranarray(ARRAYS["a/kernel"]))
    assert values(surgery.open(tmp_path / "fortran.npz"))["x"].tolist() == [[0, 1, 2], [3, 4, 5]]
    np.savez(tmp_path / "objects.npz", x=np.array([{}], object))
    with pytest.raises(FormatError, match="it holds Python objects, which are not read"):
        surgery.open(tmp_path / "objects.npz")


def test_safetensors(model, tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    surgery.save(model, safetensors=tmp_path / "m.safetensors")
    check(library.load_file(tmp_path / "m.safetensors"))
    library.save_file(ARRAYS, tmp_path / "theirs.safetensors")
    check(values(surgery.open(tmp_path / "theirs.safetensors")))


def test_sharded_safetensors(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    many = many_layers(60)
    target = {"path": str(tmp_path / "out"), "shard": "1KB"}
    recipe = {"surgery": 1, "load": str(tmp_path / "m.keras"),
              "export": [{"safetensors": target}]}  # fmt: skip
    surgery.save(many, keras=tmp_path / "m.keras")
    surgery.run(recipe)
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    files = sorted({*index["weight_map"].values()})
    assert files == [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    assert all((tmp_path / "out" / file).stat().st_size < 10_000 for file in files)
    found = {k: v for f in files for k, v in library.load_file(tmp_path / "out" / f).items()}
    assert all(np.array_equal(found[k], v) for k, v in values(many).items())
    for path in (tmp_path / "out", tmp_path / "out" / "model.safetensors.index.json"):
        assert same_bytes(surgery.open(path), many)


def test_hdf5(model, tmp_path):
    surgery.save(model, hdf5=tmp_path / "m.hdf5")
    with h5py.File(tmp_path / "m.hdf5") as file:
        check({name: file[name][()] if file[name].shape else np.array(file[name][()])
               for name in ARRAYS})  # fmt: skip
    inside = Model((*model.weights, Weight("scalar/x", constant(np.zeros(1)))))
    with pytest.raises(FormatError, match="scalar/x is below another weight's address"):
        surgery.save(inside, hdf5=tmp_path / "bad.hdf5")


def test_csv(model, tmp_path):
    surgery.save(model, csv=tmp_path / "m.csv")
    with (tmp_path / "m.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    kernel = [float(row["value"]) for row in rows if row["address"] == "a/kernel"]
    assert kernel == [0, 1, 2, 3, 4, 5]
    assert [row["index"] for row in rows[:3]] == ["0 0", "0 1", "0 2"]
    check(values(surgery.open(tmp_path / "m.csv")))
    large = Model((Weight("x", constant(np.zeros(1_000_001, np.int8))),))
    with pytest.raises(FormatError, match="it is for small weights, at most 1,000,000"):
        surgery.save(large, csv=tmp_path / "large.csv")


@pytest.mark.parametrize("name", ["npy", "npz", "safetensors", "hdf5", "csv"])
def test_bfloat16_and_float8(name, tmp_path):
    kinds = [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2]
    arrays = {f"w{i}": np.array([1.5, -2, np.nan], kind) for i, kind in enumerate(kinds)}
    weights = tuple(Weight(key, constant(value)) for key, value in arrays.items())
    surgery.save(Model(weights[:1]), **{name: tmp_path / "one"})
    assert values(surgery.open(tmp_path / "one"))["w0"].tobytes() == arrays["w0"].tobytes()
    if name in ("npz", "hdf5"):
        with pytest.raises(FormatError):
            surgery.save(Model(weights), **{name: tmp_path / "all"})
        return
    surgery.save(Model(weights), **{name: tmp_path / "all"})
    found = values(surgery.open(tmp_path / "all"))
    assert all(found[key].dtype == value.dtype for key, value in arrays.items())


def test_npy_by_layer_is_the_list_of_get_weights(tmp_path):
    many = many_layers(2)
    surgery.save(many, keras=tmp_path / "m.keras")
    recipe = {"surgery": 1, "load": str(tmp_path / "m.keras"),
              "export": [{"npy": {"path": str(tmp_path / "out"), "layout": "layer"}}]}  # fmt: skip
    surgery.run(recipe)
    found = [np.load(tmp_path / "out" / "layer_1" / f"{i}.npy") for i in range(2)]
    assert np.array_equal(found[0], values(many)["layer_1/kernel"])
    assert np.array_equal(found[1], values(many)["layer_1/bias"])
    assert same_bytes(surgery.open(tmp_path / "out"), many)


def test_keras_and_its_shards(tmp_path):
    keras = pytest.importorskip("keras")
    layers = [keras.layers.Dense(8, name=f"d{i}") for i in range(5)]
    inner = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8, name="in")], name="inner")
    model = keras.Sequential([keras.Input((8,)), *layers, inner])
    model.save(tmp_path / "m.keras")
    ours = surgery.open(tmp_path / "m.keras")
    gigabyte = 2**30
    recipe = {"surgery": 1, "load": str(tmp_path / "m.keras"),
              "steps": [{"scale": {"select": "**", "by": 2}}],
              "export": [{"weights_json": {"path": str(tmp_path / "out"),
                                           "max_shard_size": 700 / gigabyte}}]}  # fmt: skip
    surgery.run(recipe)
    assert len(list((tmp_path / "out").glob("*.h5"))) == 3
    before = model.get_weights()
    model.load_weights(tmp_path / "out" / "model.weights.json")
    assert all(np.array_equal(a * 2, b) for a, b in zip(before, model.get_weights(), strict=True))
    (tmp_path / "theirs").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_weights(tmp_path / "theirs" / "x.weights.json", max_shard_size=500 / gigabyte)
    assert len(list((tmp_path / "theirs").glob("*.h5"))) > 2
    for path in (tmp_path / "theirs", tmp_path / "theirs" / "x.weights.json"):
        theirs = surgery.open(path)
        assert same_bytes(theirs, surgery.scale(ours, "**", by=2))
