"""Deeper and wider models: Keras predicts as before, and training goes on."""

from functools import partial

import numpy as np
import pytest

import surgery
from surgery.errors import RecipeError, SelectorError
from tests.keras.nets import distance, inputs, loaded, opened, randomised

IMAGE, ROW, SERIES = (8, 8, 4), (6,), (9, 4)


# The tests compare the models themselves.
deepen, widen = (partial(op, verify=False) for op in (surgery.deepen, surgery.widen))


def chain(keras, shape, *layers):
    return randomised(keras.Sequential([keras.Input(shape), *layers]))


DEEPENED = {
    "dense": (ROW, lambda of: of.Dense(5, name="k"), "linear"),
    "relu": (ROW, lambda of: of.Dense(5, activation="relu", use_bias=False, name="k"), "relu"),
    "tanh": (ROW, lambda of: of.Dense(5, activation="tanh", name="k"), "linear"),
    "series": (SERIES, lambda of: of.Dense(5, activation="relu6", name="k"), "relu6"),
    "conv": (IMAGE, lambda of: of.Conv2D(5, (2, 4), strides=2, groups=1, name="k"), "linear"),
    "grouped": (IMAGE, lambda of: of.Conv2D(6, 3, groups=2, activation="relu", name="k"), "relu"),
    "dilated": (IMAGE, lambda of: of.Conv2D(6, 3, dilation_rate=2, name="k"), "linear"),
    "1d": (SERIES, lambda of: of.Conv1D(5, 3, padding="causal", name="k"), "linear"),
    "3d": ((4, 4, 4, 2), lambda of: of.Conv3D(3, 2, name="k"), "linear"),
    "float16": (ROW, lambda of: of.Dense(5, dtype="float16", name="k"), "linear"),
    "frozen": (ROW, lambda of: of.Dense(5, trainable=False, name="k"), "linear"),
}


@pytest.mark.parametrize("name", DEEPENED)
def test_deepen(name, keras, tmp_path):
    shape, layer, activation = DEEPENED[name]
    theirs = chain(keras, shape, layer(keras.layers), keras.layers.Dense(3))
    after = deepen(opened(theirs, tmp_path), after="k", name="new")
    assert after.notes[0].startswith("new is a new ")
    new = loaded(keras, after, tmp_path)
    assert [each.name for each in new.layers][:2] == ["k", "new"]
    assert distance(theirs, new, inputs(theirs)) == 0
    added = new.get_layer("new")
    assert (added.activation.__name__, added.trainable) == (activation, True)
    assert added.dtype_policy.name == theirs.get_layer("k").dtype_policy.name
    assert type(added) is type(theirs.get_layer("k"))
    surgery.insert(after, after="new", layer="ReLU")  # for which its shape must be known


def test_deepen_in_a_nested_model_behind_an_output_and_two_calls(keras, tmp_path):
    layers = keras.layers
    given = keras.Input((6,))
    inner = keras.Model(given, layers.Dense(5, activation="relu", name="k")(given), name="inner")
    one, two = keras.Input((6,), name="one"), keras.Input((6,), name="two")
    both = layers.Dense(5, activation="relu", name="k")
    parts = [both(one), both(two), inner(one)]
    theirs = randomised(keras.Model([one, two], [layers.Add(name="add")(parts), parts[2]]))
    theirs.compile("adam", "mse")
    x = inputs(theirs)
    y = [np.zeros((3, 5), "float32")] * 2
    theirs.fit(x, y, verbose=0)
    model = opened(theirs, tmp_path)
    for after, name in (("k", "more"), ("inner/k", "more")):
        model = deepen(model, after=after, name=name)
    new = loaded(keras, model, tmp_path)
    assert new.get_layer("inner").layers[-1].name == "more"
    assert distance(theirs, new, x) == 0
    assert int(new.optimizer.iterations) == 1
    new.fit(x, y, verbose=0)


def test_deepen_refuses(keras, tmp_path):
    layers = keras.layers
    before = opened(chain(keras, IMAGE, layers.DepthwiseConv2D(3, name="deep"), layers.Conv2D(
        3, 1, name="conv")), tmp_path)  # fmt: skip
    for keys, message in (
        ({"after": "deep", "name": "x"}, r"deep \(DepthwiseConv2D\): deepen goes behind a Dense"),
        ({"after": "conv", "name": "deep"}, "there is a layer called deep already"),
        ({"after": "con", "name": "x"}, "con is no layer of the model; the nearest are conv"),
    ):
        with pytest.raises(SelectorError, match=message):
            deepen(before, **keys)


WIDENED = {
    "dense": (ROW, lambda of: [of.Dense(5, activation="gelu", name="k"), of.Dense(3)]),
    "through": (ROW, lambda of: [of.Dense(5, use_bias=False, name="k"), of.BatchNormalization(),
                                 of.PReLU(), of.Dropout(0.5), of.Activation("tanh"), of.Dense(3)]),
    "conv": (IMAGE, lambda of: [of.Conv2D(5, 3, activation="relu", name="k"), of.MaxPooling2D(),
                                of.ZeroPadding2D(), of.Conv2D(3, 3)]),
    "flatten": (IMAGE, lambda of: [of.Conv2D(5, 3, name="k"), of.BatchNormalization(scale=False),
                                   of.Flatten(), of.BatchNormalization(), of.PReLU(), of.Dense(3)]),
    "pooled": (IMAGE, lambda of: [of.Conv2D(5, 3, name="k"), of.PReLU(shared_axes=[1, 2]),
                                  of.GlobalMaxPooling2D(), of.Dense(3)]),
    "shared alpha": (IMAGE, lambda of: [of.Conv2D(5, 3, name="k"), of.PReLU(shared_axes=[1, 2, 3]),
                                        of.UpSampling2D(), of.Conv2DTranspose(3, 2)]),
    "separable": (IMAGE, lambda of: [of.Conv2D(5, 3, name="k"), of.SeparableConv2D(
        4, 3, depth_multiplier=2), of.GlobalAveragePooling2D()]),
    "series": (SERIES, lambda of: [of.Conv1D(5, 3, name="k"), of.GlobalAveragePooling1D(),
                                   of.Dense(3)]),
    "dense of a series": (SERIES, lambda of: [of.Dense(5, name="k"), of.Flatten(), of.Dense(3)]),
    "one channel": (ROW, lambda of: [of.Dense(1, name="k"), of.BatchNormalization(), of.Dense(3)]),
}  # fmt: skip


@pytest.mark.parametrize("name", WIDENED)
@pytest.mark.parametrize("to", [None, 17])
def test_widen(name, to, keras, tmp_path):
    shape, layers = WIDENED[name]
    theirs = chain(keras, shape, *layers(keras.layers))
    keys = {"by": 3} if to is None else {"to": to}
    before = opened(theirs, tmp_path)
    after = widen(before, "k", seed=3, **keys)
    size = before["k/kernel"].shape[-1]
    assert after.notes == (f"k: {to or 3 * size} channels instead of {size}",)
    new = loaded(keras, after, tmp_path)
    assert new.get_layer("k").output.shape[-1] == (to or 3 * size)
    assert new.count_params() > theirs.count_params()
    assert distance(theirs, new, inputs(theirs)) <= 2e-6
    for weight in new.weights:
        assert np.isfinite(weight.numpy()).all()


def test_widen_draws_by_seed_and_adds_noise_to_copies(keras, tmp_path):
    theirs = chain(keras, ROW, keras.layers.Dense(50, name="k"), keras.layers.Dense(3, name="out"))
    before = opened(theirs, tmp_path)
    old = before["k/kernel"].numpy()
    found = [widen(before, "k", by=2, seed=seed)["k/kernel"].numpy() for seed in (0, 0, 1)]
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()
    np.testing.assert_array_equal(found[0][:, :50], old)
    assert {column.tobytes() for column in found[0].T} <= {column.tobytes() for column in old.T}
    noisy = widen(before, "k", by=2, noise=0.1, seed=0)["k/kernel"].numpy()
    np.testing.assert_array_equal(noisy[:, :50], old)
    added = (noisy - found[0])[:, 50:]
    assert added.std() == pytest.approx(0.1 * old.std(), rel=0.15)


def test_widen_layer_after_layer_and_train(keras, tmp_path):
    """A layer called twice, a nested model, several selected layers of which one reads another."""
    layers = keras.layers
    given = keras.Input((6,))
    hidden = layers.Dense(5, activation="relu", name="k1")(given)
    inner = keras.Model(given, layers.Dense(4, name="k2")(hidden), name="inner")
    one, two = keras.Input((6,), name="one"), keras.Input((6,), name="two")
    first, norm = layers.Dense(5, name="first"), layers.BatchNormalization(name="norm")
    second, third = layers.Dense(7, activation="relu", name="second"), layers.Dense(4, name="third")
    parts = [third(second(norm(first(each)))) for each in (one, two)]
    theirs = randomised(keras.Model([one, two], layers.Add()([*parts, inner(one)])))
    theirs.compile("adam", "mse")
    x, y = inputs(theirs), np.zeros((3, 4), "float32")
    theirs.fit(x, y, verbose=0)
    after = widen(opened(theirs, tmp_path), ["first", "second", "inner/k1"], by=1.5)
    new = loaded(keras, after, tmp_path)
    assert [new.get_layer(name).units for name in ("first", "second")] == [8, 10]
    assert distance(theirs, new, x) <= 2e-6
    assert int(new.optimizer.iterations) == 1
    new.fit(x, y, verbose=0)


def test_widen_refuses_by_the_layer_in_the_way(keras, tmp_path):
    layers = keras.layers
    given = keras.Input((8, 8, 4))
    one = layers.Conv2D(6, 3, name="one")(given)
    two = layers.Conv2D(6, 3, name="two")(given)
    three = layers.Conv2D(6, 3, groups=2, name="three")(layers.Add(name="add")([one, two]))
    four = layers.Conv2D(6, 1, name="four")(three)
    five = layers.Conv2D(6, 1, name="five")(layers.LayerNormalization(name="norm")(four))
    six = layers.Conv2D(6, 1, name="six")(layers.DepthwiseConv2D(2, name="deep")(five))
    seven = layers.Dense(6, name="seven", activation="softmax")(layers.Flatten()(six))
    eight = layers.Dense(6, name="eight")(
        layers.Softmax(name="soft")(layers.Dense(6, name="x")(seven))
    )
    before = opened(randomised(keras.Model(given, eight)), tmp_path)
    for name, message in (
        ("one", r"one \(Conv2D\) cannot be widened: add \(Add\) has more than one input"),
        ("three", "it has groups"),
        ("four", r"norm \(LayerNormalization\) is in the way"),
        ("five", r"deep \(DepthwiseConv2D\) is in the way"),
        ("seven", "its activation softmax looks at all channels"),
        ("x", r"soft \(Softmax\) is in the way"),
        ("eight", "eight is an output of the model"),
        ("norm", "widen takes Dense, Conv1D, Conv2D and Conv3D"),
    ):
        with pytest.raises(SelectorError, match=message):
            widen(before, name, by=2)
    with pytest.raises(SelectorError, match="six has 6 channels already, and to is 5"):
        widen(before, "six", to=5)
    with pytest.raises(RecipeError, match="give by or to, one of them"):
        widen(before, "six", to=5, by=2)
