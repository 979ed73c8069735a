"""Folded BatchNormalization layers: Keras predicts as before."""

from functools import partial

import numpy as np
import pytest

import surgery
from surgery.errors import SelectorError
from tests.keras.nets import distance, inputs, loaded, opened, randomised

fold = partial(surgery.fold_batchnorm, verify=False)  # the tests compare the models themselves


def chain(keras, shape, *layers):
    return keras.Sequential([keras.Input(shape), *layers])


IMAGE, ROW, SERIES = (8, 8, 4), (6,), (9, 4)
NETS = {
    "conv": (IMAGE, lambda of: [of.Conv2D(6, 3, name="k"), of.BatchNormalization(name="n")], 1),
    "same": (IMAGE, lambda of: [
        of.Conv2D(6, 3, padding="same", use_bias=False, strides=2, name="k"),
        of.BatchNormalization(scale=False, name="n"), of.ReLU()], 1),
    "grouped": (IMAGE, lambda of: [of.Conv2D(8, 3, groups=2, name="k"),
                                  of.BatchNormalization(center=False, epsilon=0.1, name="n")], 1),
    "depthwise": (IMAGE, lambda of: [of.DepthwiseConv2D(3, depth_multiplier=2, name="k"),
                                    of.BatchNormalization(name="n")], 1),
    "separable": (IMAGE, lambda of: [of.SeparableConv2D(5, 3, depth_multiplier=2, name="k"),
                                    of.BatchNormalization(name="n")], 1),
    "transposed": (IMAGE, lambda of: [of.Conv2DTranspose(5, 3, strides=2, name="k"),
                                     of.BatchNormalization(name="n")], 1),
    "3d": ((4, 4, 4, 2), lambda of: [of.Conv3D(3, 2, name="k"),
                                     of.BatchNormalization(name="n")], 1),
    "causal": (SERIES, lambda of: [of.Conv1D(5, 3, padding="causal", name="k"),
                                  of.BatchNormalization(name="n")], 1),
    "dense": (ROW, lambda of: [of.Dense(5, name="k"), of.BatchNormalization(name="n")], 1),
    "dense of a series": (SERIES, lambda of: [of.Dense(5, name="k"),
                                              of.BatchNormalization(name="n")], 1),
    "twice": (ROW, lambda of: [of.Dense(5, name="k"), of.BatchNormalization(name="n"),
                              of.BatchNormalization(name="m")], 2),
    "passed": (IMAGE, lambda of: [of.Conv2D(5, 3, name="k"), of.Dropout(0.5), of.UpSampling2D(),
                                 of.GlobalAveragePooling2D(), of.BatchNormalization(name="n")], 1),
    "before conv": (IMAGE, lambda of: [of.BatchNormalization(name="n"),
                                       of.Conv2D(6, 3, name="k")], 1),
    "before grouped": (IMAGE, lambda of: [of.BatchNormalization(name="n"), of.Conv2D(
        6, 3, groups=2, use_bias=False, activation="relu", name="k")], 1),
    "before depthwise": (IMAGE, lambda of: [of.BatchNormalization(name="n"), of.DepthwiseConv2D(
        3, depth_multiplier=2, name="k")], 1),
    "before separable": (IMAGE, lambda of: [of.BatchNormalization(name="n"), of.SeparableConv2D(
        5, 3, depth_multiplier=2, activation="tanh", name="k")], 1),
    "before dense": (SERIES, lambda of: [of.BatchNormalization(name="n"), of.Dropout(0.1),
                                        of.Dense(5, activation="tanh", name="k")], 1),
    "before 1x1": (IMAGE, lambda of: [of.BatchNormalization(name="n"), of.Conv2D(
        5, 1, padding="same", name="k")], 1),
    "both sides": (IMAGE, lambda of: [of.BatchNormalization(name="n"), of.Conv2D(5, 3, name="k"),
                                     of.BatchNormalization(name="m")], 2),
    "frozen": (IMAGE, lambda of: [of.Conv2D(5, 3, name="k", trainable=False),
                                 of.BatchNormalization(name="n")], 1),
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_folded(name, keras, tmp_path):
    shape, layers, count = NETS[name]
    theirs = randomised(chain(keras, shape, *layers(keras.layers)))
    before = opened(theirs, tmp_path)
    after = fold(before, others="error")
    new = loaded(keras, after, tmp_path)
    norms = [each for each in theirs.layers if type(each).__name__ == "BatchNormalization"]
    assert len(norms) == count
    assert len(new.layers) == len(theirs.layers) - count
    assert distance(theirs, new, inputs(theirs)) <= 1e-6
    assert new.get_layer("k").use_bias
    assert new.get_layer("k").trainable == theirs.get_layer("k").trainable
    assert after.notes == (f"fold_batchnorm: {count} BatchNormalization layers are folded",)


LEFT = {
    "an activation between": (IMAGE, lambda of: [
        of.Conv2D(5, 3, activation="relu"), of.BatchNormalization(name="n")],
        "the layer before it has the activation relu; an output of the model would change"),
    "an activation layer between": (IMAGE, lambda of: [
        of.Conv2D(5, 3), of.ReLU(), of.BatchNormalization(name="n"), of.Flatten(), of.Dense(2)],
        "a layer of class ReLU stands before it; a layer of class Flatten stands behind it"),
    "padding": (IMAGE, lambda of: [
        of.MaxPooling2D(), of.BatchNormalization(name="n"), of.Conv2D(5, 3, padding="same")],
        "a layer of class MaxPooling2D stands before it; the layer behind it pads with zeros"),
    "zeros between": (IMAGE, lambda of: [
        of.Conv2D(5, 3), of.ZeroPadding2D(), of.BatchNormalization(name="n"), of.ZeroPadding2D(),
        of.Conv2D(5, 3)],
        "a layer of class ZeroPadding2D stands before it; a layer of class ZeroPadding2D stands "
        "behind it"),
    "uneven edges": (IMAGE, lambda of: [
        of.BatchNormalization(name="n"), of.Conv2DTranspose(5, 3)],
        "a layer of class InputLayer stands before it; a layer of class Conv2DTranspose stands "
        "behind it"),
    "another axis": (IMAGE, lambda of: [of.Conv2D(5, 3), of.BatchNormalization(axis=1, name="n")],
                     "its axis 1 is not that of the channels of conv2d; an output of the model "
                     "would change"),
}  # fmt: skip


@pytest.mark.parametrize("name", LEFT)
def test_left(name, keras, tmp_path):
    shape, layers, reason = LEFT[name]
    keras.utils.clear_session()
    theirs = randomised(chain(keras, shape, *layers(keras.layers)))
    before = opened(theirs, tmp_path)
    after = fold(before)
    (note,) = after.notes
    assert note == f"fold_batchnorm: 0 BatchNormalization layers are folded, 1 stay: n ({reason})"
    assert after.architecture.config == before.architecture.config
    with pytest.raises(SelectorError, match="cannot be folded; say others: skip"):
        fold(before, others="error")


def test_only_in_the_direction_that_is_asked_for(keras, tmp_path):
    layers = keras.layers
    first = [layers.Dense(5), layers.BatchNormalization(name="one"), layers.ReLU()]
    last = [layers.BatchNormalization(name="two"), layers.Dense(4)]
    theirs = chain(keras, ROW, *first, *last)
    before = opened(randomised(theirs), tmp_path)
    for direction, left in (("after", ["two"]), ("before", ["one"]), ("both", [])):
        after = fold(before, direction=direction)
        norms = [n.name for n in after.architecture.layers if n.class_name == "BatchNormalization"]
        assert norms == left
        assert distance(theirs, loaded(keras, after, tmp_path), inputs(theirs)) <= 1e-6
    after = fold(before, "two")
    assert "one/gamma" in after.by_address
    with pytest.raises(SelectorError, match="dense names no BatchNormalization"):
        fold(before, "dense", others="error")


def test_branches_shared_layers_and_nested_models(keras, tmp_path):
    """Each graph by itself; a kernel called twice where its BatchNormalization is, too."""
    layers = keras.layers
    given = keras.Input((6,))
    hidden = layers.BatchNormalization(name="n")(layers.Dense(5, name="k")(given))
    inner = keras.Model(given, hidden, name="inner")
    one, two = keras.Input((6,), name="one"), keras.Input((6,), name="two")
    both, norm = layers.Dense(5, name="both"), layers.BatchNormalization(name="both_n")
    half, half_norm = layers.Dense(5, name="half"), layers.BatchNormalization(name="half_n")
    parts = [inner(one), inner(two), norm(both(one)), norm(both(two))]
    parts += [half_norm(half(one)), half(two)]
    last = layers.Dense(3, name="last")(layers.Add()(parts))
    out = layers.BatchNormalization(name="out")(last)
    training = layers.BatchNormalization(name="training")(layers.Dense(5)(one), training=True)
    theirs = randomised(keras.Model([one, two], [out, training]))
    after = fold(opened(theirs, tmp_path))
    (note,) = after.notes
    assert note.startswith("fold_batchnorm: 3 BatchNormalization layers are folded, 2 stay: ")
    assert "half_n (half is called elsewhere too" in note
    assert "training (training is called with training" in note
    new = loaded(keras, after, tmp_path)
    assert distance(theirs, new, inputs(theirs)) <= 1e-6
    assert [weight.name for weight in new.get_layer("inner").weights] == ["kernel", "bias"]


def test_dtypes_stay(keras, tmp_path):
    layers = keras.layers
    for policy in ("mixed_float16", "float16", "float64", "bfloat16"):
        theirs = chain(keras, ROW, layers.Dense(5, dtype=policy, use_bias=False, name="k"),
                       layers.BatchNormalization(dtype=policy))  # fmt: skip
        before = opened(randomised(theirs), tmp_path)
        after = fold(before)
        kinds = {weight.dtype for weight in after.weights}
        assert kinds == {before["k/kernel"].dtype}
        limit = 1e-6 if policy == "float64" else 2e-2
        assert distance(theirs, loaded(keras, after, tmp_path), inputs(theirs)) <= limit


def test_the_optimizer_goes_on(keras, tmp_path):
    """What it keeps for rescaled weights begins anew; its iterations and the rest stay."""
    layers = keras.layers
    theirs = chain(keras, ROW, layers.Dense(5, name="k"), layers.BatchNormalization(),
                   layers.ReLU(), layers.Dense(2, name="last"))  # fmt: skip
    theirs.compile("adam", "mse")
    rng = np.random.default_rng(0)
    x, y = rng.random((16, 6)).astype("float32"), rng.random((16, 2)).astype("float32")
    theirs.fit(x, y, epochs=2, verbose=0)
    after = fold(opened(theirs, tmp_path))
    assert after.notes[-1] == (
        "the optimizer's state of 2 weights that fold_batchnorm rescales begins anew"
    )
    new = loaded(keras, after, tmp_path)
    assert int(new.optimizer.iterations) == int(theirs.optimizer.iterations)
    found, old = (each.optimizer.variables for each in (new, theirs))
    for one, two in zip(found[-4:], old[-4:], strict=True):
        assert "last" in one.path
        np.testing.assert_array_equal(one, two)
    assert [np.any(variable) for variable in found[2:-4]] == [False] * 4
    new.fit(x, y, verbose=0)


APPLICATIONS = [("ResNet50", 53, 0), ("MobileNetV2", 52, 0), ("DenseNet121", 59, 62)]


@pytest.mark.parametrize(("name", "count", "left"), APPLICATIONS)
def test_applications(name, count, left, keras, tmp_path):
    build = getattr(keras.applications, name)
    theirs = randomised(build(weights=None, input_shape=(64, 64, 3), classifier_activation=None))
    after = fold(opened(theirs, tmp_path))
    norms = [n for n in after.architecture.layers if n.class_name == "BatchNormalization"]
    assert len(norms) == left
    assert f" {count} BatchNormalization layers are folded" in after.notes[0]
    new = loaded(keras, after, tmp_path)
    assert distance(theirs, new, inputs(theirs, count=2)) <= 1e-5
