"""Recipes that measure or predict, and write no model."""

import json
import os
import shutil

import fsspec
import numpy as np
import pytest

import surgery
from surgery.errors import SurgeryError
from surgery.execution.execute import execute
from surgery.execution.planning import make_plan
from surgery.recipe.reading import read_recipe
from tests.live.conftest import DIGITS, TEST_DATA, command, recipe, train

LOSS = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}
EVALUATE = {"evaluate": {"data": TEST_DATA, **LOSS}}
X = {"npz": str(DIGITS), "x": "x_test"}


def without_export(folder, *steps, **more):
    path = recipe(folder, *steps, **more)
    written = json.loads(path.read_text())
    del written["export"]
    path.write_text(json.dumps(written))
    return path


def test_a_measurement_is_kept_in_the_manifest_and_expected_of(net, tmp_path):
    zero = {"zero": {"select": "hidden/kernel", "lowest": "50%"}}
    sparse = {"sparsity": {"select": "hidden/kernel", "at_least": 0.5}}
    expect = [sparse, {"changed": {"select": "hidden/kernel"}}, {"unchanged": {"select": "digit"}}]
    done = command("run", without_export(tmp_path, zero, EVALUATE, expect=expect))
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.keras", "r.run.json", "r.yaml"]
    facts = json.loads((tmp_path / "r.run.json").read_text())
    assert facts["outputs"] == []
    assert set(facts["steps"][1]["found"]["metrics"]) == {"loss", "accuracy"}
    assert facts["steps"][0]["changed"] == facts["steps"][0]["elements"] // 2
    assert "up to date" in command("run", tmp_path / "r.yaml").stdout
    assert command("verify", tmp_path / "r.run.json").returncode == 0
    sparse["sparsity"]["at_least"] = 0.6
    done = command("run", without_export(tmp_path, zero, EVALUATE, expect=expect))
    assert done.returncode == 3
    assert "expected at least 60%" in done.stderr


def test_predictions_and_features_alone(net, tmp_path):
    import keras

    steps = [
        {"predict": {"data": X, "export": "out/p.npz"}},
        {"activations": {"data": X, "layers": ["hidden"], "export": "out/f.npz"}},
    ]
    done = command("run", without_export(tmp_path, *steps))
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "f.npz", "p.npz", "r.run.json"
    ]  # fmt: skip
    with np.load(DIGITS) as arrays:
        x = arrays["x_test"]
    with np.load(tmp_path / "out/p.npz") as found:
        assert found.files == ["y"]
        model = keras.saving.load_model(net)
        np.testing.assert_allclose(found["y"], model.predict(x, verbose=0), atol=1e-6)
    plan = command("plan", tmp_path / "r.yaml", cwd=tmp_path).stdout
    assert "predict digits.npz -> out/p.npz" in plan


def test_predictions_go_to_a_url(net, tmp_path):
    url = "memory://predictions/p.npz"
    path = without_export(tmp_path, {"predict": {"data": X, "export": url}})
    (written,) = surgery.run(path).outputs
    with fsspec.open(url) as file:
        assert written.bytes == len(file.read()) > 0


def test_data_that_is_replaced_while_a_step_runs(net, tmp_path):
    """The manifest would else prove data that no step has read."""
    data = shutil.copy(DIGITS, tmp_path / "data.npz")
    step = {"evaluate": {**EVALUATE["evaluate"], "data": {**TEST_DATA, "npz": "data.npz"}}}
    plan = make_plan(read_recipe(without_export(tmp_path, step)))

    def replaced(_number, do):
        made = do()
        shutil.copy(DIGITS, tmp_path / "new.npz")
        os.replace(tmp_path / "new.npz", data)
        return made

    with pytest.raises(SurgeryError, match=r"data\.npz was changed while it was read"):
        execute(plan, memo=replaced)
    assert not (tmp_path / "r.run.json").exists()


def test_a_sweep_of_measurements(net, tmp_path):
    zero = {"zero": {"select": "hidden/kernel", "lowest": "${lowest}"}}
    matrix = {"lowest": ["10%", "50%"]}
    without_export(tmp_path, zero, EVALUATE, matrix=matrix)
    done = command("sweep", "r.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = next(tmp_path.glob("*.sweep"))
    rows = json.loads(command("sweep", "table", folder, "--json").stdout)
    assert all(0 < row["accuracy"] < 1 for row in rows)


SCALE = {"scale": {"select": "digit", "by": 2}}
WRONG = [
    ([SCALE], "r.yaml:1:1: the key 'export' is missing; for example export: "),
    ([train(epochs=1)], "the key 'export' is missing"),
    ([EVALUATE, SCALE], "steps[1].scale: no later step measures or writes the model"),
]


@pytest.mark.parametrize(("steps", "said"), WRONG, ids=[said for _, said in WRONG])
def test_a_recipe_without_any_result(steps, said, net, tmp_path):
    done = command("validate", without_export(tmp_path, *steps).name, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Six grey images of one shade each, in a flat folder, and a model that tells the shade."""
    import keras
    from keras.utils import array_to_img

    folder = tmp_path_factory.mktemp("images")
    (folder / "flat").mkdir()
    for number in (1, 10, 2):
        image = array_to_img(np.full((4, 4, 1), 10 * number, "u1"), scale=False)
        image.save(folder / f"flat/{number}.png")
    inner = keras.Sequential(
        [keras.Input((4, 4, 1)), keras.layers.GlobalAveragePooling2D(name="pool")], name="body"
    )
    out = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", name="shade")
    keras.Sequential([keras.Input((4, 4, 1)), inner, out]).save(folder / "shade.keras")
    return folder


def test_predictions_name_the_files_of_images(images, tmp_path):
    data = {"images": str(images / "flat"), "size": [4, 4], "channels": 1}
    step = {"predict": {"data": data, "export": "p.npz"}}
    done = command("run", without_export(tmp_path, step, load=str(images / "shade.keras")))
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "p.npz") as found:
        assert found["files"].tolist() == ["1.png", "10.png", "2.png"]
        np.testing.assert_allclose(found["y"][:, 0], [10, 100, 20])


def test_features_keep_their_layers_addresses(images, tmp_path):
    data = json.dumps({"images": str(images / "flat"), "size": [4, 4], "channels": 1})
    done = command("activations", images / "shade.keras", "--data", data, "--layers", "body/pool",
                   "--export", tmp_path / "f.npz")  # fmt: skip
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "f.npz") as found:
        assert found.files == ["body/pool", "files"]
        np.testing.assert_allclose(found["body/pool"][:, 0], [10, 100, 20])
