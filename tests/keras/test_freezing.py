"""Freezing in the file, against what Keras makes of it when it loads the file."""

import warnings

import numpy as np
import pytest

import surgery


@pytest.fixture(scope="module")
def nested(keras, tmp_path_factory):
    """A model with a nested functional model, a nested Sequential, wrappers and attention."""
    L = keras.layers  # noqa: N806
    keras.utils.set_random_seed(1)
    inputs = keras.Input((5, 4))
    x = L.Dense(4, name="x")(inputs)
    y = L.Dense(4, name="y")(x)
    inner = keras.Model(inputs, L.BatchNormalization(name="bn")(y), name="inner")
    seq = keras.Sequential(
        [keras.Input((5, 4)), L.Dense(4, name="s1"), L.Dense(4, name="s2")], name="seq"
    )
    inputs = keras.Input((5, 4))
    h = seq(inner(inputs))
    h = L.TimeDistributed(L.Dense(4, name="in_td"), name="td")(h)
    h = L.Bidirectional(L.LSTM(2, return_sequences=True, name="lstm"), name="bi")(h)
    h = L.SpectralNormalization(L.Dense(4, name="in_sn"), name="sn")(h)
    h = L.RNN([L.LSTMCell(3, name="c1"), L.GRUCell(2, name="c2")], name="rnn")(h)
    model = keras.Model(inputs, L.Dense(2, name="head")(h))
    for number, weight in enumerate(model.weights):
        weight.assign(np.full(weight.shape, number + 1.0))
    folder = tmp_path_factory.mktemp("nested")
    model.save(folder / "m.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(folder / "m.h5")
    return folder


def loaded_weights(keras, path):
    model = keras.models.load_model(path, compile=False)
    trained = {id(w) for w in model.trainable_weights}
    return [(w.numpy(), id(w) in trained) for w in model.weights]


STEPS = [
    [("freeze", "x")],  # wrong on purpose: there is no x at the top
    [("freeze", "inner/x")],
    [("freeze", "inner/y")],
    [("freeze", "inner")],
    [("freeze", "seq/s1")],
    [("freeze", "seq")],
    [("freeze", "td")],
    [("freeze", "bi")],
    [("freeze", "bi/forward_lstm")],
    [("freeze", "sn")],
    [("freeze", "rnn/**/c1")],
    [("freeze", "rnn")],
    [("freeze", "**")],
    [("freeze", ["inner/x", "seq/s2", "head"])],
    [("freeze", "inner"), ("unfreeze", "inner/y")],
    [("freeze", "**"), ("unfreeze", "head")],
    [("freeze", "**"), ("unfreeze", "bi/backward_lstm")],
    [("freeze", {"type": "Dense"})],
]


@pytest.mark.parametrize("source", ["keras", "h5"])
@pytest.mark.parametrize("target", ["keras", "h5"])
@pytest.mark.parametrize("steps", STEPS[1:], ids=str)
def test_keras_loads_the_wanted_flags_and_every_value_in_its_place(
    steps, source, target, nested, keras, tmp_path
):
    model = before = surgery.open(nested / f"m.{source}")
    for op, select in steps:
        model = getattr(surgery, op)(model, select)
    assert [w.trainable for w in model.weights] != [w.trainable for w in before.weights]
    path = tmp_path / f"out.{target}"
    surgery.save(model, **{target: path})
    loaded = loaded_weights(keras, path)
    assert len(loaded) == len(model.weights)
    for ours, (values, trained) in zip(model.weights, loaded, strict=True):
        assert np.array_equal(ours.tensor.numpy(), values), ours.address
        assert ours.trainable == trained, ours.address


def test_what_freezes_what(nested):
    model = surgery.open(nested / "m.keras")

    def frozen(changed):
        return {w.address for w in changed.weights if w.variable_trains and not w.trainable}

    assert frozen(model) == set()
    assert frozen(surgery.freeze(model, "inner/x")) == {"inner/x/kernel", "inner/x/bias"}
    everything = surgery.freeze(model, "**")
    assert frozen(everything) == {w.address for w in model.weights if w.variable_trains}
    opened = surgery.unfreeze(everything, "inner/bn")
    assert frozen(everything) - frozen(opened) == {"inner/bn/gamma", "inner/bn/beta"}


def test_two_layers_of_one_shape_in_a_frozen_nested_model(nested, keras, tmp_path):
    """The .h5 layout goes by order, trainable weights first; a freeze must not swap x and y."""
    model = surgery.freeze(surgery.open(nested / "m.h5"), "inner/x")
    surgery.save(model, h5=tmp_path / "out.h5")
    loaded = keras.models.load_model(tmp_path / "out.h5", compile=False)
    inner = loaded.get_layer("inner")
    for name in ("x", "y"):
        kernel = inner.get_layer(name).kernel.numpy()
        assert np.array_equal(kernel, model[f"inner/{name}/kernel"].tensor.numpy())


def test_a_model_frozen_at_the_root(keras, tmp_path):
    inputs = keras.Input((4,))
    layers = [keras.layers.Dense(4, name=name) for name in "abc"]
    outputs = inputs
    for layer in layers:
        outputs = layer(outputs)
    model = keras.Model(inputs, outputs)
    model._trainable = False  # as `Model(..., trainable=False)` has it: the layers are not
    model.save(tmp_path / "m.keras")
    ours = surgery.open(tmp_path / "m.keras")
    assert not any(w.trainable for w in ours.weights)
    surgery.save(surgery.unfreeze(ours, "b"), keras=tmp_path / "out.keras")
    loaded = keras.models.load_model(tmp_path / "out.keras")
    assert [w.path for w in loaded.trainable_weights] == ["b/kernel", "b/bias"]


def test_attention_is_told_to_forget(keras, tmp_path):
    inputs = keras.Input((5, 4))
    model = keras.Model(inputs, keras.layers.MultiHeadAttention(2, 3, name="mha")(inputs, inputs))
    model.save(tmp_path / "m.keras")
    frozen = surgery.freeze(surgery.open(tmp_path / "m.keras"), "mha")
    assert any("forgets" in note for note in frozen.notes)
    surgery.save(frozen, keras=tmp_path / "out.keras")
    loaded = keras.models.load_model(tmp_path / "out.keras")
    # The day this fails, Keras remembers, and the note can go.
    assert len(loaded.trainable_weights) == 8
    assert [w.trainable for w in frozen.weights] == [True] * 8


def test_nested_models_with_equal_layer_names(keras, tmp_path):
    """Keras itself cannot save this as .h5: the weights' names collide."""

    def body(name):
        inputs = keras.Input((4,))
        return keras.Model(inputs, keras.layers.Dense(4, name="same")(inputs), name=name)

    keras.utils.set_random_seed(3)
    inputs = keras.Input((4,))
    both = keras.Model(inputs, body("two")(body("one")(inputs)), name="both")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2)(both(inputs)))
    model.save(tmp_path / "m.keras")
    with pytest.raises(ValueError, match="name already exists"):
        model.save(tmp_path / "keras.h5")
    surgery.save(surgery.open(tmp_path / "m.keras"), h5=tmp_path / "ours.h5")
    loaded = keras.models.load_model(tmp_path / "ours.h5", compile=False)
    for ours, theirs in zip(model.weights, loaded.weights, strict=True):
        assert np.array_equal(ours.numpy(), theirs.numpy())


def test_a_shared_layer_has_one_address(keras, tmp_path):
    shared = keras.layers.Dense(4, name="shared")
    one, two = keras.Input((4,), name="one"), keras.Input((4,), name="two")
    joined = keras.layers.Subtract()([shared(one), shared(two)])
    model = keras.Model([one, two], keras.layers.Dense(1, name="out")(shared(joined)))
    model.save(tmp_path / "m.keras")
    ours = surgery.open(tmp_path / "m.keras")
    assert [w.address for w in ours.weights] == [
        "shared/kernel", "shared/bias", "out/kernel", "out/bias",
    ]  # fmt: skip
    shared.kernel.assign(shared.kernel * 2)
    x = np.random.default_rng(0).random((2, 3, 4), np.float32)
    for target in ("keras", "h5"):
        path = tmp_path / f"out.{target}"
        surgery.save(surgery.scale(ours, "shared/kernel", by=2), **{target: path})
        loaded = keras.models.load_model(path, compile=False)
        np.testing.assert_allclose(loaded(list(x)).numpy(), model(list(x)).numpy(), rtol=1e-5)


def test_a_layer_shared_with_a_nested_model(keras, tmp_path):
    """Keras cannot load the .keras file that it writes of this; we list and export it."""
    shared = keras.layers.Dense(4, name="shared")
    inputs = keras.Input((4,))
    inner = keras.Model(inputs, shared(inputs), name="inner")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(1, name="out")(shared(inner(inputs))))
    model.save(tmp_path / "m.keras")
    with pytest.raises(ValueError, match="objects could not be loaded"):
        keras.models.load_model(tmp_path / "m.keras")
    ours = surgery.open(tmp_path / "m.keras")
    assert [w.address for w in ours.weights] == [
        "inner/shared/kernel", "inner/shared/bias", "out/kernel", "out/bias",
    ]  # fmt: skip
    surgery.save(ours, npy=tmp_path / "out")
    assert len(surgery.open(tmp_path / "out").weights) == 4
