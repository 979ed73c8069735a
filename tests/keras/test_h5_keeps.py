"""What `.h5` keeps otherwise than Keras 3's own files: LoRA, and layers that models share."""

import numpy as np
import pytest

import surgery
from surgery.errors import FormatError
from tests.conftest import values
from tests.keras.test_way_back import to_keras2
from tests.keras.way_back import IMAGE, SEQUENCE, randomized, single

FLAT = (4,)


def adapted(keras, name):
    """A model of a layer with LoRA enabled, and an input."""
    L = keras.layers  # noqa: N806
    make, shape = {
        "Dense": (lambda: L.Dense(3, name="d"), FLAT),
        "EinsumDense": (lambda: L.EinsumDense("abc,cd->abd", (None, 5), name="d"), SEQUENCE),
        "Conv2D": (lambda: L.Conv2D(3, 2, name="d"), IMAGE),
        "Embedding": (lambda: L.Embedding(5, 3, name="d"), FLAT),
    }[name]
    model = single(keras, make, shape)
    model.get_layer("d").enable_lora(2, lora_alpha=3)
    x = np.random.default_rng(1).integers(0, 4, (3, *shape)).astype("float32")
    return randomized(model), x


@pytest.mark.parametrize("name", ["Dense", "EinsumDense", "Conv2D", "Embedding"])
def test_lora_is_kept_in_h5_and_merged_elsewhere(name, keras, tmp_path):
    import tf_keras

    model, x = adapted(keras, name)
    model.save(tmp_path / "m.h5")
    ours = surgery.open(tmp_path / "m.h5")
    surgery.save(ours, h5=tmp_path / "same.h5")
    again = values(surgery.open(tmp_path / "same.h5"))
    assert {k: v.tolist() for k, v in again.items()} == {
        k: v.tolist() for k, v in values(ours).items()
    }
    surgery.save(ours, keras=tmp_path / "m.keras", weights_h5=tmp_path / "m.weights.h5")
    merged = keras.saving.load_model(tmp_path / "m.keras")
    assert not merged.get_layer("d").lora_enabled
    np.testing.assert_allclose(merged(x), model(x), atol=1e-5)
    merged.set_weights([w * 0 for w in merged.get_weights()])
    merged.load_weights(tmp_path / "m.weights.h5")
    np.testing.assert_allclose(merged(x), model(x), atol=1e-5)
    notes = to_keras2(tmp_path / "m.h5", tmp_path / "old.h5")
    assert any("d: LoRA is merged into the" in note for note in notes)
    old = tf_keras.models.load_model(tmp_path / "old.h5", compile=False)
    np.testing.assert_allclose(old(x), model(x), atol=1e-5)


def test_lora_that_keras_merged_is_enabled_no_more_in_h5(keras, tmp_path):
    model, x = adapted(keras, "Dense")
    model.save(tmp_path / "m.keras")
    surgery.save(surgery.open(tmp_path / "m.keras"), h5=tmp_path / "m.h5")
    again = keras.saving.load_model(tmp_path / "m.h5", compile=False)
    np.testing.assert_allclose(again(x), model(x), atol=1e-5)


def test_lora_on_integers_is_not_merged(keras, tmp_path):
    model = keras.Sequential([keras.Input(FLAT), keras.layers.Dense(3, name="d")])
    model.quantize("int8")
    model.get_layer("d").enable_lora(2)
    model.save(tmp_path / "m.h5")
    with pytest.raises(FormatError, match="d has LoRA on a quantised kernel"):
        surgery.save(surgery.open(tmp_path / "m.h5"), keras=tmp_path / "m.keras")


def sharing(keras, name):
    """A model that shares a layer with one inside it."""
    L = keras.layers  # noqa: N806
    x, y = keras.Input(FLAT), keras.Input(FLAT)
    shared = L.Dense(4, name="shared")
    if name == "the layer after the model":
        return keras.Model(x, shared(keras.Model(x, shared(x), name="inner")(x)))
    if name == "the layer before the model":
        return keras.Model(y, keras.Model(x, L.Dense(4)(shared(x)), name="inner")(shared(y)))
    if name == "two models":
        one, two = (keras.Model(x, shared(x), name=n) for n in ("one", "two"))
        return keras.Model(y, two(one(y)))
    deep = keras.Sequential([keras.Input(FLAT), L.Dense(4), L.BatchNormalization()], name="deep")
    return keras.Model(y, deep(keras.Model(x, deep(x), name="inner")(y)))


@pytest.mark.parametrize(
    "name",
    ["the layer after the model", "the layer before the model", "two models", "a model"],
)
def test_a_shared_layer_has_its_weights_at_each_place(name, keras, tmp_path):
    """Keras 3 loads no such `.keras` file, even of its own."""
    import tf_keras

    model = randomized(sharing(keras, name))
    model.save(tmp_path / "m.keras")
    x = np.random.default_rng(1).random((3, 4), np.float32)
    recipe = {"surgery": 1, "load": str(tmp_path / "m.keras"),
              "export": [{"h5": str(tmp_path / "m.h5")}]}  # fmt: skip
    assert any("is shared; the file has it twice" in n for n in surgery.run(recipe).plan.notes)
    again = keras.saving.load_model(tmp_path / "m.h5", compile=False)
    np.testing.assert_array_equal(again(x), model(x))
    to_keras2(tmp_path / "m.keras", tmp_path / "old.h5")
    old = tf_keras.models.load_model(tmp_path / "old.h5", compile=False)
    np.testing.assert_allclose(old(x), model(x), atol=1e-6)


def test_which_layer_is_shared_is_not_guessed(keras, tmp_path):
    x = keras.Input(FLAT)
    shared, namesake = (keras.layers.Dense(4, name="shared") for _ in range(2))
    one, two, three = (
        keras.Model(x, layer(x), name=name)
        for name, layer in (("one", shared), ("two", shared), ("three", namesake))
    )
    keras.Model(x, three(two(one(x)))).save(tmp_path / "m.keras")
    with pytest.raises(FormatError, match="two has no two/shared/bias, and it is unknown"):
        surgery.save(surgery.open(tmp_path / "m.keras"), h5=tmp_path / "out.h5")
