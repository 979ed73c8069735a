"""Measuring from Python."""

import keras
import numpy as np
import pytest

import surgery
from tests.live.conftest import DIGITS, TEST_DATA, recipe, train

LOSS = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}


@pytest.fixture
def expected(net, digits):
    model = keras.saving.load_model(net)
    model.compile("sgd", **LOSS)
    return model.evaluate(digits["x_test"], digits["y_test"], verbose=0, return_dict=True)


def test_evaluate_is_a_function_of_a_model(net, expected):
    model = surgery.open(net)
    found = surgery.evaluate(model, data=TEST_DATA, **LOSS)
    assert found == pytest.approx(expected, rel=1e-5)
    changed = surgery.zero(model, "digit/kernel")
    assert surgery.evaluate(changed, data=TEST_DATA, **LOSS)["loss"] == pytest.approx(np.log(10))
    layers = surgery.activations(model, data=TEST_DATA, layers=["hidden"])
    assert layers["hidden"]["shape"] == [12]


def test_a_run_has_its_metrics(net, tmp_path, expected):
    path = recipe(tmp_path, {"evaluate": {"data": TEST_DATA, **LOSS}})
    assert surgery.run(path).metrics == pytest.approx(expected, rel=1e-5)


def test_what_works_on_files_is_a_step(net):
    model = surgery.open(net)
    keys = train(epochs=1)["train"]
    with pytest.raises(surgery.SurgeryError, match=r"surgery.train works on files; give it as a"):
        surgery.train(model, **keys)
    with pytest.raises(surgery.SurgeryError, match=r"surgery.predict works on files"):
        surgery.predict(model, data={"npz": str(DIGITS), "x": "x_test"}, export="p.npz")
    with pytest.raises(surgery.SurgeryError, match="it takes keys only"):
        surgery.evaluate(model, "**", data=TEST_DATA)
    with pytest.raises(surgery.RecipeError, match="the key 'data' is missing"):
        surgery.evaluate(model)
