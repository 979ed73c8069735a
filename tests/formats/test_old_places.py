"""Where Keras 2.12 to 2.14 keep a layer's weights, and files whose shapes contradict themselves."""

import zipfile

import h5py
import numpy as np
import pytest

import surgery
from surgery.architecture import Architecture
from surgery.errors import FormatError
from surgery.formats._old_places import OLD_LAYERS, moved_asset, todays_places
from tests.conftest import MODELS, dense_model

OLD = MODELS / "old-keras"


def sequential(*classes):
    layers = [
        {"class_name": name, "config": {"name": f"{name.lower()}{number}", "units": 2}}
        for number, name in enumerate(classes)
    ]
    return Architecture({"class_name": "Sequential", "config": {"name": "m", "layers": layers}})


D, N, F = "Dense", "BatchNormalization", "Flatten"
CASES = [
    ([D, D, D], ["dense", "dense_2", "dense_4"], ["dense", "dense_1", "dense_2"]),
    ([D, D, D], ["dense", "dense_1", "dense_2"], ["dense", "dense_1", "dense_2"]),
    ([D, F, N, D], ["dense", "batch_normalization", "dense_2"],
     ["dense", "batch_normalization", "dense_1"]),
    (["Mine", "Mine"], ["mine", "mine_2"], ["mine", "mine_1"]),
    (["Mine", "Mine"], ["mine", "mine_1"], ["mine", "mine_1"]),
    ([D], ["dense"], ["dense"]),
]  # fmt: skip


@pytest.mark.parametrize(("classes", "stored", "today"), CASES)
def test_layers_are_found_by_their_order(classes, stored, today):
    paths = [f"{OLD_LAYERS}/{name}" for name in stored]
    places = todays_places(paths, paths, sequential(*classes), "f")
    assert places == {old: f"layers/{new}" for old, new in zip(paths, today, strict=True)}


@pytest.mark.parametrize("stored", [["dense", "dense_3"], ["dense_1", "dense_2"], ["dense"]])
def test_numbers_that_fit_no_way_of_counting(stored):
    paths = [f"{OLD_LAYERS}/{name}" for name in stored]
    with pytest.raises(FormatError, match=r"f: it has dense number .*cannot be matched"):
        todays_places(paths, paths, sequential(D, D), "f")


def test_files_of_layers():
    groups = {f"{OLD_LAYERS}/sequential_2/{OLD_LAYERS}/dense": "layers/sequential_1/layers/dense"}
    name = f"assets/{OLD_LAYERS}/sequential_2/{OLD_LAYERS}/string_lookup/vocabulary.txt"
    wanted = "assets/layers/sequential_1/layers/string_lookup/vocabulary.txt"
    assert moved_asset(name, groups) == wanted


def rewritten(source, target, change):
    """A .keras file with its weights file changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith(".h5"):
                path = target.with_suffix(".h5")
                path.write_bytes(data)
                with h5py.File(path, "a") as file:
                    change(file)
                data = path.read_bytes()
            new.writestr(name, data)


def test_a_shape_that_contradicts_the_config(tmp_path):
    def swap(file):
        file.move("layers/dense", "layers/other")
        file.move("layers/dense_1", "layers/dense")
        file.move("layers/other", "layers/dense_1")

    rewritten(dense_model(tmp_path), tmp_path / "swapped.keras", swap)
    with pytest.raises(FormatError, match=r"a/kernel is \[3, 2\].*Dense requires \[\?, 3\]"):
        surgery.open(tmp_path / "swapped.keras")


@pytest.mark.skipif(not OLD.is_dir(), reason=f"no old models at {OLD}; set SURGERY_MODELS")
@pytest.mark.parametrize("name", ["2.12.1/auto5_zip.keras", "2.13.1/auto5.keras",
                                  "2.14.1/auto5.keras"])  # fmt: skip
def test_a_file_that_is_kept_keeps_its_places(name, tmp_path):
    target = {"path": str(tmp_path / "kept.keras"), "config": "keep"}
    surgery.run({"surgery": 1, "load": str(OLD / name), "export": [{"keras": target}]})
    old, kept = surgery.open(OLD / name), surgery.open(tmp_path / "kept.keras")
    assert [w.stored for w in kept.weights] == [w.stored for w in old.weights]
    for weight in old.weights:
        there = kept[weight.address].tensor.numpy()
        np.testing.assert_array_equal(there, weight.tensor.numpy())


@pytest.mark.skipif(not OLD.is_dir(), reason=f"no old models at {OLD}; set SURGERY_MODELS")
@pytest.mark.parametrize("name", ["2.12.1/auto5_zip.keras", "2.13.1/auto5.keras",
                                  "2.14.1/auto5.keras"])  # fmt: skip
@pytest.mark.parametrize("target", ["weights_h5", "weights_json", "npz"])
def test_weights_of_the_layers_that_they_are_of(name, target, tmp_path):
    """Layers of the same shape: only their order tells them apart."""
    path = OLD / name
    wanted = np.load(path.with_name("auto5.npz"))
    model = surgery.open(path)
    surgery.save(model, **{target: tmp_path / "out"})
    made = surgery.open(tmp_path / "out")
    for number in range(5):
        kernel = wanted[f"w/dense_{number}/kernel:0" if number else "w/dense/kernel:0"]
        name = f"dense_{number}/kernel" if number else "dense/kernel"
        np.testing.assert_array_equal(model[name].tensor.numpy(), kernel)
        np.testing.assert_array_equal(made[name].tensor.numpy(), kernel)
