"""A new head on one's own backbone: the recipe, against a script of Keras's own."""

import numpy as np
import pytest

import surgery
from surgery.execution.execute import execute
from surgery.execution.planning import make_plan
from surgery.recipe.reading import read_recipe
from tests.conftest import ROOT

CLASSES = 5


@pytest.fixture
def data(tmp_path, digits):
    """The digits, of which two and two are a class."""
    arrays = {name: digits[name] for name in ("x_train", "x_test")}
    arrays |= {f"pair_{part}": digits[f"y_{part}"] // 2 for part in ("train", "test")}
    np.savez(tmp_path / "pairs.npz", **arrays)
    return arrays


@pytest.fixture
def body(keras, tmp_path, digits):
    """The CNN of the recipes, trained for a moment."""
    keras.utils.set_random_seed(1)
    model = keras.models.model_from_json((ROOT / "recipes/data/digits-cnn.json").read_text())
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(digits["x_train"], digits["y_train"], epochs=3, batch_size=64, verbose=0)
    model.save(tmp_path / "digits.keras")
    return tmp_path / "digits.keras"


def by_keras(keras, body, head, data):
    """The accuracy that a person gets who does the same by hand, with the same first weights."""
    keras.utils.set_random_seed(7)
    model = keras.models.load_model(body)
    last = keras.layers.Dense(CLASSES, activation="softmax")
    whole = keras.Model(model.inputs, last(model.get_layer("dense2").output))
    last.set_weights(head)
    for layer in model.layers:
        layer.trainable = False
    for trainable, rate in ((False, 0.01), (True, 0.0001)):
        for layer in whole.layers[:-1]:
            layer.trainable = trainable
        whole.compile(
            keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"]
        )
        whole.fit(data["x_train"], data["pair_train"], epochs=3, verbose=0)
    return whole.evaluate(data["x_test"], data["pair_test"], verbose=0)[1]


def test_a_new_head_on_a_body(keras, tmp_path, body, data):
    given = {"model": str(body), "data": str(tmp_path / "pairs.npz"), "out": str(tmp_path)}
    recipe = ROOT / "recipes/digits-transfer.yaml"
    plan = make_plan(
        read_recipe(recipe, {**given, "classes": "5", "label": "pair", "least": "0.85"}), threads=1
    )
    first = plan.steps[0].step.op.apply(surgery.open(body))
    head = [first[f"head/{name}"].tensor.numpy() for name in ("kernel", "bias")]
    steps = execute(plan).plan.steps
    assert steps[0].sizes["layers"] == (14, 13)
    assert [weight.address for weight in steps[1].matched][-1] == "dense2/bias"
    ours = steps[-1].found["metrics"]["accuracy"]
    assert ours > 0.9
    assert abs(ours - by_keras(keras, body, head, data)) < 0.02
    loaded = keras.models.load_model(tmp_path / "pair.keras")
    assert loaded.output_shape == (None, CLASSES)
    assert all(layer.trainable for layer in loaded.layers)
    measured = loaded.evaluate(data["x_test"], data["pair_test"], verbose=0)[1]
    assert measured == pytest.approx(ours, abs=1e-6)
