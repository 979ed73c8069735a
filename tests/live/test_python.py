"""Measuring from Python."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import surgery
from tests.conftest import ROOT
from tests.live.conftest import DIGITS, TEST_DATA, recipe, train

LOSS = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}


@pytest.fixture
def expected(net, digits, keras):
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


def test_train_returns_a_model(net, digits, keras, tmp_path):
    model = surgery.open(net)
    keys = train(epochs=1)["train"]
    trained = surgery.train(surgery.train(model, **keys), data=keys["data"])
    data = {"npz": str(DIGITS), "x": "x_test"}
    found = surgery.predict(trained, data=data)
    assert surgery.predict(trained, data=data, export=tmp_path / "p.npz")["arrays"]["y"]
    assert np.array_equal(np.load(tmp_path / "p.npz")["y"], found["y"])
    surgery.scale(trained, "hidden", by=1).save(tmp_path / "trained.keras")
    saved = keras.saving.load_model(tmp_path / "trained.keras")
    assert found["y"] == pytest.approx(saved.predict(digits["x_test"], verbose=0), rel=1e-5)
    assert int(saved.optimizer.iterations) == 2 * -(-len(digits["x_train"]) // 32)


def test_what_was_allowed_to_run_code_is_not_used_where_it_is_not(
    net, keras, tmp_path, monkeypatch
):
    monkeypatch.delenv("SURGERY_ALLOW_CODE", raising=False)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "lambda.keras"
    inner = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Lambda(lambda x: x * 0)])
    keras.Sequential([inner, keras.saving.load_model(net)]).save(path)
    given = {"data": TEST_DATA, **LOSS}
    steps = {"steps": [{"evaluate": given}]}
    assert surgery.run({"surgery": 1, "load": path, **steps}, allow_code=True).metrics
    with pytest.raises(surgery.SurgeryError, match="allow-code"):
        surgery.evaluate(surgery.open(path), **given)


def test_the_example_of_the_page_on_python(net, tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs/python.md").read_text()
    (block,) = (
        b for b in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "surgery.train(" in b
    )
    monkeypatch.chdir(tmp_path)
    shutil.copy(DIGITS, "digits.npz")
    exec(compile(block, "python.md", "exec"), {})
    said = capsys.readouterr().out.splitlines()
    assert (said[0].startswith("{'"), said[1]) == (True, "(360, 10)")
    assert Path("trained.keras").is_file()


def test_a_model_in_memory_is_opened_as_it_is_now(net, keras):
    live = keras.saving.load_model(net)
    model = surgery.open(live)
    before = live.get_layer("digit").kernel.numpy()
    live.get_layer("digit").kernel.assign(before * 0)
    assert np.array_equal(model["digit/kernel"].numpy(), before)
    assert not surgery.open(live)["digit/kernel"].numpy().any()
    assert repr(model).startswith("<Model ")
    with pytest.raises(surgery.SurgeryError, match="has no variables yet; call it, or build it"):
        surgery.open(keras.Sequential([keras.layers.Dense(3)]))


def test_what_a_live_op_refuses(net, tmp_path):
    model = surgery.open(net)
    data = tmp_path / "d.npz"
    data.write_bytes(DIGITS.read_bytes())
    given = {"npz": str(data), "x": "x_test"}
    with pytest.raises(surgery.UsageError, match=r"predict: .* is an input"):
        surgery.predict(model, data=given, export=data)
    callbacks = {"model_checkpoint": {"filepath": str(net)}}
    with pytest.raises(surgery.UsageError, match=r"train: .* is an input"):
        surgery.train(model, **{**train(epochs=1)["train"], "callbacks": callbacks})
    with pytest.raises(surgery.SurgeryError, match="it takes keys only"):
        surgery.evaluate(model, "**", data=TEST_DATA)
    with pytest.raises(surgery.RecipeError, match="the key 'data' is missing"):
        surgery.evaluate(model)
