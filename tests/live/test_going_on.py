"""A training goes on as Keras's own script would: what is frozen stays, moments are kept."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import surgery
from surgery.execution.execute import execute
from surgery.execution.planning import make_plan
from surgery.recipe.reading import read_recipe
from surgery.weights.random import generator
from tests import forking
from tests.conftest import forking_server, values
from tests.live.conftest import command, recipe

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
LOGITS = {"sparse_categorical_crossentropy": {"from_logits": True}}
DATA = {"npz": "d.npz", "x": "x", "y": "y"}
ADAM = {"optimizer": {"adam": {"learning_rate": 0.01}}, "loss": LOGITS, "metrics": ["accuracy"]}
EXPORT = [{"keras": "out/model.keras"}]


def run(path):
    return execute(make_plan(read_recipe(path), threads=1))


def fit(**keys):
    return {"train": {"data": DATA, "epochs": 2, "batch_size": 8, "shuffle": False, **keys}}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Data, and the nested model by Keras: compiled and trained for two epochs, in all forms."""
    import keras
    import nets

    folder = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 4, 3)).astype(np.float32)
    y = x.sum(axis=1).argmax(axis=1)
    images = rng.normal(size=(16, 32, 32, 3)).astype(np.float32)
    np.savez(folder / "d.npz", x=x, y=y, images=images, classes=np.arange(16) % 3)
    keras.utils.set_random_seed(1)
    model = nets.nested()
    model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    model.save(folder / "m.keras")
    model.save(folder / "m.h5")
    (folder / "m.json").write_text(model.to_json())
    import tensorflow as tf
    import tf_keras

    old = nets.nested(keras=tf_keras)
    old.save(folder / "k2", save_format="tf")
    old.save(folder / "new.h5")
    old.fit(x, y, batch_size=8, verbose=0)  # whose moments Keras 3 has no place for
    old.save(folder / "k2.h5")
    tf.train.Checkpoint(model=model).write(str(folder / "c" / "ckpt"))
    return folder


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    shutil.copy(HERE / "nets.py", tmp_path)
    monkeypatch.setenv("SURGERY_ALLOW_CODE", "1")
    return tmp_path


@pytest.fixture(scope="module")
def keras_s_own():
    """What asks Keras's own script for a training."""
    keras = forking_server("keras").address
    script = forking.Forked(keras, ["tests.live.own_script"], subprocess.PIPE, text=True)

    def ask(**request):
        print(json.dumps(request), file=script.stdin, flush=True)
        return json.loads(script.stdout.readline())

    yield ask
    script.kill()
    script.communicate()


BODY = ["body"]
NET = {"application": "MobileNet", "alpha": 0.25, "input_shape": [32, 32, 3], "weights": "none",
       "classes": 3, "dropout": 0.0, "classifier_activation": None}  # fmt: skip
SOURCES = {
    "keras": ("m.keras", BODY, {}),
    "h5": ("m.h5", BODY, {}),
    "build": ({"build": "nets:nested"}, BODY, {}),
    "build, with weights": ({"build": "nets:nested", "weights": "m.keras"}, BODY, ADAM),
    "config": ({"config": "m.json"}, BODY, ADAM),
    "checkpoint": ({"path": "c/ckpt", "architecture": "m.keras"}, BODY, ADAM),
    "SavedModel": ("k2", BODY, ADAM),
    "h5 of Keras 2, not trained": ("new.h5", BODY, {}),
    "h5 of Keras 2": ("k2.h5", BODY, ADAM),
    "application": (NET, ["conv1", "conv1_bn", "conv_dw_3", "conv_dw_3_bn"], ADAM),
    "only attention": ("m.keras", ["body/mha"], {}),
    "a new optimizer": (
        {"build": "nets:nested", "arguments": {"compiled": False}},
        ["body/mha"],
        ADAM,
    ),
}


@pytest.mark.parametrize(("load", "layers", "keys"), SOURCES.values(), ids=SOURCES)
def test_what_is_frozen_stays_and_the_rest_learns_as_in_keras(
    load, layers, keys, folder, keras_s_own
):
    data = ("images", "classes") if load is NET else ("x", "y")
    start = [{"keras": "start.keras"}]
    run(recipe(folder, load=load, export=start))
    steps = {"freeze": {"select": layers}}, fit(**keys, data={**DATA, "x": data[0], "y": data[1]})
    done = run(recipe(folder, *steps, load=load, export=EXPORT))
    orders = [list(range(16 if load is NET else 40))] * 2
    expected = keras_s_own(
        folder=str(folder), layers=layers, data=data, compiled=not keys, orders=orders
    )
    found = done.plan.steps[1].found
    np.testing.assert_allclose(found["history"]["loss"], expected, rtol=1e-6)
    assert found["metrics"]["loss"] == found["history"]["loss"][-1]
    names = ("start.keras", "out/model.keras", "own.keras")
    before, after, own = (values(surgery.open(folder / name)) for name in names)
    inside = tuple(f"{name}/" for name in layers)
    for name, value in before.items():
        assert (value.tobytes() == after[name].tobytes()) == name.startswith(inside), name
        np.testing.assert_allclose(after[name], own[name], rtol=1e-4, atol=1e-6)


def test_shuffled_examples_are_learnt_as_in_keras(folder, keras_s_own):
    """Keras's own script is fed the same batches."""
    shutil.copy(folder / "m.keras", folder / "start.keras")
    orders = [generator(3, "shuffle", epoch).permutation(40).tolist() for epoch in (0, 1)]
    expected = keras_s_own(
        folder=str(folder), layers=BODY, data=["x", "y"], compiled=True, orders=orders
    )
    steps = {"freeze": {"select": "body"}}, fit(shuffle=True)
    found = run(recipe(folder, *steps, load="m.keras", export=EXPORT)).plan.steps[1].found
    np.testing.assert_allclose(found["history"]["loss"], expected, rtol=1e-6)


def test_the_optimizer_goes_on_from_run_to_run_and_step_to_step(folder):
    """Two trainings of one epoch are one of two, of files and of a model that code builds."""
    import keras

    for load in ("m.keras", {"build": "nets:nested"}):
        once, twice = [fit()], [fit(epochs=1), fit(epochs=1)]
        losses = []
        for steps in (once, twice):
            done = run(recipe(folder, *steps, load=load, export=EXPORT))
            histories = [step.found["history"]["loss"] for step in done.plan.steps]
            losses.append([loss for history in histories for loss in history])
        np.testing.assert_allclose(*losses, rtol=1e-6)
        model = keras.models.load_model(folder / "out" / "model.keras")
        assert type(model.optimizer).__name__ == "Adam"
        assert int(model.optimizer.iterations) == (20 if load == "m.keras" else 10)
        assert float(model.optimizer.learning_rate) == pytest.approx(0.01)


def test_an_optimizer_goes_on_in_half_precision(folder):
    """It is put inside a LossScaleOptimizer, which has numbers of its own, and goes on in it."""
    import keras

    steps = fit(epochs=1, mixed_precision="mixed_float16"), fit(epochs=1, metrics=[])
    run(recipe(folder, *steps, load="m.keras", export=EXPORT))
    optimizer = keras.models.load_model(folder / "out" / "model.keras").optimizer
    assert type(optimizer).__name__ == "LossScaleOptimizer"
    assert 15 < int(optimizer.inner_optimizer.iterations) <= 20  # but for steps that overflowed


def test_another_learning_rate_keeps_the_moments(folder):
    import keras

    path = recipe(folder, fit(learning_rate=0.0005), load="m.keras", export=EXPORT)
    done = run(path)
    model = keras.models.load_model(folder / "m.keras")
    model.optimizer.learning_rate = 0.0005
    with np.load(folder / "d.npz") as arrays:
        given = arrays["x"], arrays["y"]
    expected = model.fit(*given, batch_size=8, epochs=2, shuffle=False, verbose=0).history
    found = done.plan.steps[0].found["history"]
    assert found.keys() == expected.keys()
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-6)


def test_a_schedule_takes_the_place_of_a_learning_rate(folder):
    import keras

    rate = {"cosine_decay": {"initial_learning_rate": 0.01, "decay_steps": 100}}
    run(recipe(folder, fit(learning_rate=rate), load="m.keras", export=EXPORT))
    model = keras.models.load_model(folder / "out" / "model.keras")
    assert int(model.optimizer.iterations) == 20
    expected = keras.optimizers.schedules.CosineDecay(0.01, 100)(20)
    assert float(model.optimizer.learning_rate) == pytest.approx(float(expected))
    done = command("plan", recipe(folder, fit(learning_rate=0.1), load="out/model.keras"))
    assert done.returncode == 2
    assert "the learning rate of the model's own Adam follows a schedule" in done.stderr


def test_a_new_optimizer_is_told(folder):
    path = recipe(folder, fit(optimizer="sgd"), load="m.keras", export=EXPORT)
    done = command("plan", path)
    assert "train: sgd replaces Adam, without its state" in done.stdout, done.stderr
    found = run(path).plan.steps[0].found
    assert {"loss", "accuracy"} <= found["metrics"].keys()  # the model's own


def test_what_is_not_known_of_an_optimizer_is_refused(folder):
    import keras
    import nets

    model = nets.nested(compiled=False)
    model.compile(keras.optimizers.Adafactor(0.01), "mse")
    model.optimizer.build(model.trainable_variables)
    model.save(folder / "a.keras")
    freeze = {"freeze": {"select": "head"}}
    done = command("plan", recipe(folder, freeze, fit(), load="a.keras", export=EXPORT))
    assert done.returncode == 2
    assert "the state of the model's own optimizer, Adafactor, cannot be used" in done.stderr
    assert "give optimizer, to start with a new one" in done.stderr
    path = recipe(folder, fit(optimizer="keep"), load={"config": "m.json"}, export=EXPORT)
    assert "the model is not compiled; give loss" in command("plan", path).stderr
    path = recipe(folder, fit(optimizer="keep", loss="mse"), load={"config": "m.json"})
    assert "the model has no optimizer to keep" in command("plan", path).stderr


def test_the_state_of_keras_2_is_refused(folder):
    done = command("plan", recipe(folder, fit(), load="k2.h5", export=EXPORT))
    assert done.returncode == 2
    assert "Adam, cannot be used: it was saved by Keras 2." in done.stderr
    done = command("plan", recipe(folder, fit(**ADAM), fit(), load="k2.h5", export=EXPORT))
    assert done.returncode == 2
    assert "cannot be used: an earlier step has dropped it" in done.stderr


def test_a_loss_of_the_user_s_own_is_not_needed_where_all_is_given(folder):
    import keras
    import nets

    model = nets.nested(compiled=False)
    model.compile("adam", lambda y, given: keras.ops.mean(given))
    model.save(folder / "own.keras")
    run(recipe(folder, fit(**ADAM), load="own.keras", export=EXPORT))
    assert set(surgery.open(folder / "out/model.keras").carried.compile_config["metrics"]) == {
        "accuracy"
    }
