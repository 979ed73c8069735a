"""Models built by code, and files with custom layers: listed, edited, trained, exported."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import surgery
from tests.conftest import values
from tests.live.conftest import command, recipe

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
LOSS = "sparse_categorical_crossentropy"
LOGITS = {"SparseCategoricalCrossentropy": {"from_logits": True}}


@pytest.fixture
def folder(tmp_path):
    shutil.copy(HERE / "nets.py", tmp_path / "nets.py")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((12, 10), np.float32))
    np.save(tmp_path / "y.npy", np.arange(12) % 3)
    return tmp_path


def built(name, **more):
    return {"build": f"nets:{name}", "inputs": {"shape": [1, 10]}, **more}


def run(path, *options):
    done = command("--allow-code", "run", path, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_nested_subclassed_model_has_the_names_of_get_layer_chains(folder):
    """The user's example: one inner kernel, by its name, after a forward pass."""
    import nets

    path = recipe(
        folder,
        {"scale": {"select": "custom_module/inner_dense1/kernel", "by": 2}},
        {"predict": {"data": {"npy": {"x": "x.npy"}}, "export": "out/p.npz"}},
        load=built("make", arguments={"units": 6}),
        export=[{"npy": "out/w"}, {"weights_h5": "out/m.weights.h5"}],
    )
    run(path)
    model = nets.make(6)
    x = np.load(folder / "x.npy")
    model(x)
    model.load_weights(folder / "out" / "m.weights.h5")
    found = values(surgery.open(folder / "out" / "w"))
    assert found["custom_module/inner_dense1/kernel"].shape == (10, 6)
    assert {
        "block1/kernel",
        "head_a/bias",
        "bi/forward_lstm/lstm_cell/kernel",
        "mha/query/kernel",
        "stack/stacked_rnn_cells/gru/recurrent_kernel",
        "norm/moving_mean",
        "custom_module/scale",
    } <= set(found)
    assert len(found) == len(model.weights)
    for ours, theirs in zip(found.values(), model.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs.numpy())
    chain = model.get_layer("custom_module").inner_dense1.kernel
    np.testing.assert_array_equal(chain, found["custom_module/inner_dense1/kernel"])
    with np.load(folder / "out" / "p.npz") as made:
        expected = model.predict(x, verbose=0)
        np.testing.assert_allclose(made["y"], expected, rtol=1e-4, atol=1e-6)


def test_arguments_may_be_called_anything(folder):
    load = built("named", arguments={"name": "a", "function": "b"})
    run(recipe(folder, load=load, export=[{"npy": "out/w"}]))


def test_what_tensorflow_tracks_goes_into_a_checkpoint(folder):
    import nets
    import tensorflow as tf

    path = recipe(
        folder,
        {"scale": {"select": "module/w", "by": 3}},
        {"train": {"data": {"npy": {"x": "x.npy", "y": "y.npy"}}, "loss": LOGITS}},
        {"predict": {"data": {"npy": {"x": "x.npy"}}, "export": "out/p.npz"}},
        load=built("tracked"),
        export=[{"checkpoint": "out/c"}],
    )
    run(path)
    model = nets.tracked()
    x = np.load(folder / "x.npy")
    model(x)
    tf.train.Checkpoint(model=model).read(str(folder / "out/c/ckpt")).assert_consumed()
    np.testing.assert_array_equal(model.module.w, np.full((10, 3), 3))
    with np.load(folder / "out" / "p.npz") as made:
        expected = model.predict(x, verbose=0)
        np.testing.assert_allclose(made["y"], expected, rtol=1e-4, atol=1e-6)


def test_a_functional_model_is_trained_and_loads_again(folder):
    """Built, trained on a generator, kept as .keras; then loaded with custom_objects."""
    import keras
    import nets  # noqa: F401 - registers the layer

    step = {"train": {"data": {"generator": "nets:batches"}, "epochs": 2, "loss": LOGITS}}
    run(recipe(folder, step, load=built("functional"), export=[{"keras": "out/m.keras"}]))
    model = keras.saving.load_model(folder / "out" / "m.keras")
    assert model.get_layer("custom_module").inner_dense1.kernel.shape == (10, 5)

    load = {"path": "out/m.keras", "custom_objects": ["nets"]}
    step = {"predict": {"data": {"npy": {"x": "x.npy"}}, "export": "out/p.npz"}}
    path = recipe(folder, step, load=load, export=[{"npz": "out/m.npz"}])
    run(path)
    x = np.load(folder / "x.npy")
    with np.load(folder / "out" / "p.npz") as made:
        expected = model.predict(x, verbose=0)
        np.testing.assert_allclose(made["y"], expected, rtol=1e-4, atol=1e-6)
    done = command("run", path, "--force")
    assert done.returncode == 2
    assert "nets is code, which runs only with --allow-code or SURGERY_ALLOW_CODE=1" in done.stderr


def test_built_with_the_weights_of_a_file(folder):
    import nets

    model = nets.functional()
    for weight in model.weights:
        weight.assign(np.random.default_rng(1).random(weight.shape))
    model.save_weights(folder / "trained.weights.h5")
    load = built("functional", weights="trained.weights.h5")
    run(recipe(folder, load=load, export=[{"npy": "out/w"}, {"keras": "out/m.keras"}]))
    found = values(surgery.open(folder / "out" / "w"))
    for ours, theirs in zip(found.values(), model.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs.numpy())


def test_the_seed_decides_what_the_code_draws(folder):
    path = recipe(folder, load=built("functional"), export=[{"npz": "out/m.npz"}])
    run(path)
    first = (folder / "out/m.npz").read_bytes()
    run(path, "--force")
    assert (folder / "out/m.npz").read_bytes() == first


def test_two_inputs(folder):
    load = {"build": "nets:two_inputs", "inputs": [{"shape": [1, 4]}, {"shape": [1, 4]}]}
    run(recipe(folder, load=load, export=[{"npy": "out/w"}]))
    assert set(values(surgery.open(folder / "out" / "w"))) == {"d/kernel", "d/bias"}


MISTAKES = [
    (built("no_model"), "nets:no_model returned a int, not a keras.Model"),
    (built("fails"), "nets:fails failed: RuntimeError: no luck"),
    (built("make", arguments={"unit": 3}), "nets:make failed: TypeError: make() got an unexpected"),
    (
        {"build": "nets:make"},
        "is a model without variables; give inputs, so that it is called once",
    ),
    (built("make", inputs={"shape": [1, 10, 3, 3]}), "a forward pass of nets:make failed"),
    ({"build": "nowhere:make"}, "nowhere:make cannot be imported: ModuleNotFoundError"),
    (built("make", weights="imagenet"), "weights: imagenet requires application"),
]


@pytest.mark.parametrize(
    ("load", "message"), MISTAKES, ids=lambda v: v if isinstance(v, str) else ""
)
def test_mistakes(load, message, folder):
    done = command("--allow-code", "run", recipe(folder, load=load, export=[{"npz": "o.npz"}]))
    assert done.returncode in (1, 2), done.stdout + done.stderr
    assert message in done.stderr
    assert not (folder / "o.npz").exists()


def test_code_runs_only_where_it_is_allowed(folder):
    done = command("run", recipe(folder, load=built("make"), export=[{"npz": "o.npz"}]))
    assert done.returncode in (1, 2)
    assert "nets:make is code, which runs only with --allow-code" in done.stderr


def test_users_example_a_file_scaled_compiled_trained_and_saved(folder):
    """load my_model.h5, scale layer 0's kernel by 0.8, compile, fit, save."""
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((10,)),
            keras.layers.Dense(4, name="first"),
            keras.layers.Dense(3, name="second", activation="softmax"),
        ]
    )
    model.save(folder / "my_model.h5")
    path = recipe(
        folder,
        {"scale": {"select": "first/kernel", "by": 0.8}},
        {"train": {"data": {"npy": {"x": "x.npy", "y": "y.npy"}}, "shuffle": False,
                   "optimizer": "adam", "loss": LOSS, "epochs": 3}},
        load="my_model.h5",
        export=[{"h5": "out/tuned.h5"}],
    )  # fmt: skip
    run(path)
    first = model.get_layer("first")
    first.kernel.assign(first.kernel * 0.8)
    model.compile("adam", LOSS)
    x, y = np.load(folder / "x.npy"), np.load(folder / "y.npy")
    model.fit(x, y, epochs=3, shuffle=False, verbose=0)
    tuned = keras.saving.load_model(folder / "out" / "tuned.h5")
    assert tuned.compiled
    for ours, theirs in zip(tuned.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_users_example_features_of_mobilenet(folder):
    """MobileNetV2's features at block_5_add, equal to Keras's."""
    import keras

    x = np.random.default_rng(0).random((3, 32, 32, 3), np.float32) * 255
    np.save(folder / "images.npy", x)
    application = {"application": "MobileNetV2", "weights": "none", "input_shape": [32, 32, 3],
                   "include_top": False, "alpha": 0.35}  # fmt: skip
    step = {"layers": ["block_5_add"], "data": {"npy": {"x": "images.npy"}}, "export": "out/f.npz"}
    text = run(
        recipe(folder, {"activations": step}, load=application, export=[{"keras": "m.keras"}])
    )
    assert "block_5_add  4x4x" in text
    model = keras.saving.load_model(folder / "m.keras")
    inner = keras.Model(model.inputs, model.get_layer("block_5_add").output)
    with np.load(folder / "out" / "f.npz") as made:
        expected = inner.predict(x, verbose=0)
        np.testing.assert_allclose(made["block_5_add"], expected, rtol=1e-4, atol=1e-5)


def test_users_example_an_unbuilt_sequential(folder):
    """Saved before it was ever called, it has no weights; a forward pass gives it some."""
    import keras

    model = keras.Sequential([keras.layers.Dense(4, name="d")])
    model.save(folder / "unbuilt.keras")
    done = command("inspect", folder / "unbuilt.keras")
    assert done.returncode == 0
    assert "0 weights" in done.stdout
    step = {"scale": {"select": "d", "by": 2}}
    done = command("run", recipe(folder, step, load="unbuilt.keras"))
    assert done.returncode == 2
    assert "it has no weights at all; a model that was saved before it was ever" in done.stderr
    load = {"path": "unbuilt.keras", "inputs": {"shape": [1, 10]}}
    done = command("run", recipe(folder, step, load=load))
    assert done.returncode == 0, done.stderr
    built = keras.saving.load_model(folder / "out" / "model.keras")
    assert built.get_layer("d").kernel.shape == (10, 4)
    assert np.abs(built.get_layer("d").kernel).max() > 0.6  # twice what Keras draws at most
