"""Ops that reach the config, as Keras loads what they write."""

import warnings

import ml_dtypes
import numpy as np
import pytest

import surgery
from surgery.errors import FormatError
from tests.conftest import same_bytes


@pytest.fixture(scope="module")
def model(keras, tmp_path_factory):
    """Two inputs, a nested model that is used twice, a Sequential one, two outputs; trained."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inner_in = keras.Input((4,), name="inner_in")
    hidden = layers.Dense(4, activation="relu", name="hidden")(inner_in)
    inner = keras.Model(inner_in, layers.BatchNormalization(name="norm")(hidden), name="inner")
    block = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="one")], name="block")
    one, two = keras.Input((4,), name="one"), keras.Input((4,), name="two")
    joined = layers.Add(name="add")([inner(one), block(inner(two))])
    outputs = [layers.Dense(2, name="left")(joined), layers.Dense(3, name="right")(joined)]
    model = keras.Model([one, two], outputs, name="model")
    model.compile("adam", {"left": "mean_absolute_error", "right": keras.losses.Huber()})
    rng = np.random.default_rng(0)
    x = [rng.random((16, 4)).astype("float32") for _ in range(2)]
    y = [rng.random((16, 2)).astype("float32"), rng.random((16, 3)).astype("float32")]
    model.fit(x, y, epochs=2, verbose=0)
    folder = tmp_path_factory.mktemp("model")
    for form in ("keras", "h5"):  # in this order: saving .h5 makes Keras forget the optimizer
        saved(model, folder / f"m.{form}")
    return model, x, y, folder


def saved(model, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(path)
    return surgery.open(path)


def loaded(keras, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return keras.models.load_model(path)


@pytest.mark.parametrize("source", ["keras", "h5"])
@pytest.mark.parametrize("target", ["keras", "h5"])
def test_rename(source, target, model, keras, tmp_path):
    theirs, x, y, folder = model
    ours = surgery.open(folder / f"m.{source}")
    renamed = surgery.rename(ours, "inner/*", to="n_*")
    renamed = surgery.rename(renamed, "inner", to="outer")
    renamed = surgery.rename(renamed, "left", to="first_output")
    renamed = surgery.rename(renamed, "two", to="second_input")
    names = {w.address for w in renamed.weights}
    assert {"outer/n_hidden/kernel", "outer/n_norm/moving_mean", "first_output/bias"} <= names
    surgery.save(renamed, **{target: tmp_path / f"out.{target}"})
    again = surgery.open(tmp_path / f"out.{target}")
    assert same_bytes(again, renamed)
    new = loaded(keras, tmp_path / f"out.{target}")
    assert [layer.name for layer in new.layers] == [
        {"inner": "outer", "left": "first_output", "two": "second_input"}.get(name, name)
        for name in (layer.name for layer in theirs.layers)
    ]
    assert new.get_layer("outer").get_layer("n_hidden").name == "n_hidden"
    for one, two in zip(new(x), theirs(x), strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy())
    assert set(new.loss) == {"first_output", "right"}
    if target == "keras":
        expected = loaded(keras, folder / "m.keras") if source == "keras" else theirs
        for one, two in zip(new.optimizer.variables, expected.optimizer.variables, strict=True):
            np.testing.assert_array_equal(one.numpy(), two.numpy())
        new.fit(x, y, verbose=0)


def test_names_without_an_entry_of_their_own_are_refused(keras, tmp_path):
    inputs = keras.Input((3, 4))
    ours = saved(
        keras.Model(inputs, keras.layers.LSTM(2, name="rnn")(inputs)), tmp_path / "m.keras"
    )
    with pytest.raises(surgery.SurgeryError, match="rnn/lstm_cell has no name in the config"):
        surgery.rename(ours, "rnn/lstm_cell", to="cell")


@pytest.mark.parametrize("target", ["keras", "h5"])
@pytest.mark.parametrize("to", ["float16", "bfloat16", "float64"])
def test_cast(to, target, model, keras, tmp_path):
    theirs, x, _, folder = model
    ours = surgery.cast(surgery.open(folder / "m.keras"), "**", to=to)
    path = tmp_path / f"out.{target}"
    if (to, target) == ("bfloat16", "h5"):
        with pytest.raises(FormatError, match="bfloat16, which Keras cannot load"):
            surgery.save(ours, h5=path)
        return
    surgery.save(ours, **{target: path})
    new = loaded(keras, path)
    assert {w.dtype for w in new.weights} == {to}
    dtype = ml_dtypes.bfloat16 if to == "bfloat16" else np.dtype(to)
    for one, two in zip(new.weights, theirs.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy().astype(dtype))
    tolerance = {"float16": 0.01, "bfloat16": 0.05, "float64": 1e-6}[to]
    for one, two in zip(new(x), theirs(x), strict=True):
        assert one.dtype.name == to
        np.testing.assert_allclose(one.numpy().astype(float), two.numpy(), atol=tolerance)
    if target == "keras":
        assert {v.dtype for v in new.optimizer.variables if len(v.shape)} == {to}


def test_casting_a_part_of_the_layers(model, keras, tmp_path):
    theirs, x, _, folder = model
    ours = surgery.open(folder / "m.keras")
    surgery.save(surgery.cast(ours, "left", to="float16"), keras=tmp_path / "out.keras")
    new = loaded(keras, tmp_path / "out.keras")
    assert new.get_layer("left").kernel.dtype == "float16"
    assert new.get_layer("right").kernel.dtype == "float32"
    np.testing.assert_allclose(new(x)[0].numpy().astype(float), theirs(x)[0].numpy(), atol=0.01)
    with pytest.raises(surgery.SurgeryError, match="a layer of Keras has one dtype: select left"):
        surgery.cast(ours, "left/kernel", to="float16")


def test_permuted_inputs(keras, tmp_path):
    """RGB to BGR: the model with its first kernel permuted takes the other order."""
    layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="conv"),
              keras.layers.Flatten(), keras.layers.Dense(2)]  # fmt: skip
    theirs = keras.Sequential(layers)
    ours = saved(theirs, tmp_path / "m.keras")
    changed = surgery.permute(ours, "conv/kernel", axis=2, order=[2, 1, 0])
    surgery.save(changed, keras=tmp_path / "out.keras")
    new = loaded(keras, tmp_path / "out.keras")
    x = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    np.testing.assert_allclose(new(x[..., ::-1]).numpy(), theirs(x).numpy(), atol=1e-5)


def test_another_shape_goes_into_weights_only(model, tmp_path):
    ours = surgery.transpose(surgery.open(model[3] / "m.keras"), "left/kernel")
    surgery.save(ours, npy=tmp_path / "out")
    for target in ("keras", "h5"):
        with pytest.raises(FormatError, match=r"left/kernel is \[2, 4\], unlike in its layer"):
            surgery.save(ours, **{target: tmp_path / f"out.{target}"})


def test_a_pruned_model_is_what_the_numbers_say(model, keras, tmp_path):
    """Keras with the same weights set to zero by hand predicts the same."""
    theirs, x, _, folder = model
    ours = surgery.open(folder / "m.keras")
    changed = surgery.zero(ours, {"type": "Dense", "variable": "kernel"}, channels="50%")
    surgery.save(changed, keras=tmp_path / "out.keras")
    new = loaded(keras, tmp_path / "out.keras")
    by_hand = keras.models.clone_model(theirs)
    by_hand.set_weights(theirs.get_weights())
    for weight in by_hand.weights:
        if weight.name == "kernel":
            value = weight.numpy()
            count = value.shape[1] // 2
            value[:, np.argsort(np.sqrt((value.astype(float) ** 2).sum(0)))[:count]] = 0
            weight.assign(value)
    for one, two in zip(new(x), by_hand(x), strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy())


def test_rename_of_what_is_called_as_keras_stores_it(keras, tmp_path):
    """`dense` and `dense_1` are parts of the paths in the file, too."""
    layers = keras.layers
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="dense")], name="sequential")
    theirs = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="dense"), inner,
                               layers.Dense(4, name="dense_1")])  # fmt: skip
    x = np.ones((1, 4), "float32")
    for source in ("keras", "h5"):
        ours = saved(theirs, tmp_path / f"m.{source}")
        for names in (
            [("dense", "vars"), ("dense_1", "dense")],
            [("dense", "tmp"), ("dense_1", "dense"), ("tmp", "dense_1")],
            [("sequential/dense", "dense_1"), ("sequential", "layers")],
            [("*", "p_*"), ("p_sequential/dense", "sequential")],
        ):
            changed = ours
            for old, new in names:
                changed = surgery.rename(changed, old, to=new)
            for target in ("keras", "h5"):
                surgery.save(changed, **{target: tmp_path / f"out.{target}"})
                new = loaded(keras, tmp_path / f"out.{target}")
                np.testing.assert_array_equal(new(x).numpy(), theirs(x).numpy())
                assert same_bytes(surgery.open(tmp_path / f"out.{target}"), changed)


@pytest.mark.parametrize("op", ["permute", "transpose", "cast"])
def test_state_that_is_not_tied_is_dropped_where_weights_move(op, keras, tmp_path):
    theirs = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="a")])
    theirs.compile("adafactor", "mse")
    theirs.fit(np.ones((2, 4)), np.ones((2, 4)), verbose=0)
    keys = {"permute": {"order": [3, 1, 0, 2]}, "transpose": {}, "cast": {"to": "float16"}}[op]
    select = "a" if op == "cast" else "a/kernel"
    ours = saved(theirs, tmp_path / "m.keras")
    assert ours.optimizer
    changed = getattr(surgery, op)(ours, select, **keys)
    assert changed.optimizer == ()
    assert "the optimizer state is dropped" in changed.notes[0]


def test_quantised_layers_are_left_whole(keras, tmp_path):
    """Their whole numbers go with a scale: a part of them is not changed, nor cast."""
    theirs = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="a")])
    theirs.quantize("int8")
    ours = saved(theirs, tmp_path / "m.keras")
    with pytest.raises(surgery.SurgeryError, match="a/kernel is int8"):
        surgery.scale(ours, "**", by=2)
    for select in ("**", "a"):
        with pytest.raises(surgery.SurgeryError, match="belongs to a quantised layer"):
            surgery.cast(ours, select, to="float16")
