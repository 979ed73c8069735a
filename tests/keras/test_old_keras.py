"""Models that Keras 1, 2 and tf.keras wrote, as Keras 3 loads them."""

import copy
import shutil

import numpy as np
import pytest

import surgery
from surgery.architecture.upgrades import upgraded
from surgery.errors import SurgeryError
from surgery.formats.upgrading import for_keras3
from tests.conftest import ROOT, command, model_path, published_models

WHOLE = {"h5_full", "h5_full_custom", "keras_zip", "keras_dir"}
REFUSED = {
    "deeplc-h5": "activation `<lambda>`",
    "gen-keras1-lstm": "recurrent layers of Keras 1",
    "megnet-formation-energy": "custom layers",
    "keras-nested-container": "a class of its own",
    "gen-nested-lambda": "a Lambda",
}
"""Those that Keras 3 does not load, each with what the table says."""


def modern(path, tmp_path, **target):
    recipe = {
        "surgery": 1,
        "load": str(path),
        "export": [{"keras": {"path": str(tmp_path / "m.keras"), **target}}],
    }
    return surgery.run(recipe).plan


@pytest.mark.parametrize(("entry", "golden"), published_models(WHOLE))
def test_published_models_load_or_the_table_says_why(entry, golden, tmp_path):
    import keras

    slug, path = entry["slug"], model_path(golden)
    page = (ROOT / "docs" / "old-keras.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith(f"| {slug} "))
    if slug in REFUSED:
        assert REFUSED[slug] in row
        assert not loads(path, tmp_path)
        return
    assert "| yes" in row
    if "prediction" in golden:
        return  # test_published.py compares them
    modern(path, tmp_path)
    model = keras.saving.load_model(tmp_path / "m.keras", compile=False)
    inputs = given(model)
    outputs = listed(model.predict(inputs if len(inputs) > 1 else inputs[0], verbose=0))
    for output, expected in zip(outputs, oracle(slug, path, inputs), strict=True):
        np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)


def loads(path, tmp_path):
    """Whether we write it as .keras, and Keras loads that."""
    import keras

    try:
        modern(path, tmp_path)
        keras.saving.load_model(tmp_path / "m.keras", compile=False)
    except (SurgeryError, TypeError, ValueError):
        return False
    return True


def given(model):
    """As golden.py draws them: two examples, 16 where a size is not fixed."""
    rng = np.random.default_rng(0)
    made = []
    for each in model.inputs:
        shape = [2, *(16 if size is None else size for size in each.shape[1:])]
        embedded = "int" in str(each.dtype)
        made.append(rng.integers(0, 10, shape) if embedded else rng.random(shape, np.float32))
    return made


def listed(value):
    return value if isinstance(value, list) else [value]


def oracle(slug, path, inputs):
    """What the Keras that wrote it puts out; Keras 1 itself is not to be had: by NumPy."""
    if slug == "gen-keras1-conv":
        return [keras1_conv(surgery.open(path), inputs[0])]
    import tf_keras

    model = tf_keras.models.load_model(path, compile=False)
    return listed(model.predict(inputs if len(inputs) > 1 else inputs[0], verbose=0))


def keras1_conv(model, x):
    """Convolution (same), BatchNormalization, relu, pooling, Dense: the model by hand."""
    w = {weight.address: weight.tensor.numpy() for weight in model.weights}
    conv, norm, dense = "convolution2d_1", "batchnormalization_1", "dense_1"
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    y = np.einsum("nhwcij,ijcf->nhwf", windows, w[f"{conv}/kernel"]) + w[f"{conv}/bias"]
    spread = np.sqrt(w[f"{norm}/moving_variance"] + 1e-3)
    y = (y - w[f"{norm}/moving_mean"]) / spread * w[f"{norm}/gamma"] + w[f"{norm}/beta"]
    y = np.maximum(y, 0)
    n, height, width, channels = y.shape
    y = y.reshape(n, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))
    scores = y.reshape(n, -1) @ w[f"{dense}/kernel"] + w[f"{dense}/bias"]
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def sequential(*layers):
    return {"class_name": "Sequential", "config": [
        {"class_name": name, "config": config} for name, config in layers
    ]}  # fmt: skip


CASES = [
    ("2.5.0", ("LSTM", {"name": "a", "units": 3, "time_major": False}),
     ("LSTM", {"name": "a", "units": 3}), "a: time_major: false is left out", None),
    ("2.5.0", ("LSTM", {"name": "a", "time_major": True}),
     None, None, "a: time_major: True has no equal in Keras 3's LSTM"),
    ("2.5.0", ("DepthwiseConv2D", {"name": "a", "groups": 1}),
     ("DepthwiseConv2D", {"name": "a"}), "a: groups: 1 is left out", None),
    ("2.5.0", ("DepthwiseConv2D", {"name": "a", "groups": 2}),
     None, None, "a: groups: 2 has no equal"),
    ("2.2.4", ("LSTM", {"name": "a", "recurrent_activation": "hard_sigmoid"}),
     ("LSTM", {"name": "a", "recurrent_activation": "hard_sigmoid"}), None, None),
    ("2.2.4", ("LSTM", {"name": "a", "activation": "hard_sigmoid"}),
     None, None, "a: activation: hard_sigmoid is another function"),
    ("2.2.4", ("Dense", {"name": "a", "activation": "<lambda>"}),
     None, None, "a: activation: <lambda> names no function"),
    ("2.15.0", ("LeakyReLU", {"name": "a", "alpha": 0.2}),
     ("LeakyReLU", {"name": "a", "negative_slope": 0.2}), "a: alpha is negative_slope", None),
    ("2.12.0", ("ReLU", {"name": "a", "max_value": {"class_name": "__numpy__", "config": {
        "value": 6.0, "dtype": "float32"}}}),
     ("ReLU", {"name": "a", "max_value": 6.0}), None, None),
    ("2.15.0", ("ThresholdedReLU", {"name": "a", "theta": 0.5}),
     ("ReLU", {"name": "a", "threshold": 0.5}), "a: ThresholdedReLU is ReLU", None),
    ("2.9.0", ("SyncBatchNormalization", {"name": "a", "axis": [3], "renorm": False}),
     ("BatchNormalization", {"name": "a", "axis": 3, "synchronized": True}),
     "a: SyncBatchNormalization is BatchNormalization", None),
    ("2.9.0", ("BatchNormalization", {"name": "a", "axis": [1, 2]}), None, None, "takes one axis"),
    ("2.9.0", ("BatchNormalization", {"name": "a", "virtual_batch_size": 8}),
     None, None, "a: virtual_batch_size: 8"),
    ("2.9.0", ("Attention", {"name": "a", "causal": True}), None, None, "a: causal: True"),
    ("2.9.0", ("LocallyConnected1D", {"name": "a", "filters": 2}),
     None, None, "a: LocallyConnected1D has no equal in Keras 3"),
    ("2.9.0", ("RandomHeight", {"name": "a"}), None, None, "a: RandomHeight has no equal"),
    ("2.9.0", ("Dense", {"name": "a", "dtype": {"class_name": "Policy", "config": {
        "name": "mixed_float16"}}}),
     ("Dense", {"name": "a", "dtype": {"module": "keras", "class_name": "DTypePolicy", "config": {
         "name": "mixed_float16"}, "registered_name": None}}), None, None),
    ("2.1.0", ("Dense", {"name": "a", "kernel_initializer": {
        "class_name": "VarianceScaling",
        "config": {"distribution": "normal", "dtype": "float32"}}}),
     ("Dense", {"name": "a", "kernel_initializer": {
         "module": "keras.initializers", "class_name": "VarianceScaling",
         "config": {"distribution": "truncated_normal"}, "registered_name": None}}), None, None),
    ("2.12.0", ("Dense", {"name": "a", "activation": {"class_name": "function", "config": "relu6",
                                                      "module": "builtins"}}),
     ("Dense", {"name": "a", "activation": "relu6"}), None, None),
    ("1.2.2", ("Dense", {"name": "a", "output_dim": 3, "init": "one", "bias": False,
                         "input_dim": None,
                         "W_regularizer": {"name": "L1L2Regularizer", "l1": 0.0, "l2": 0.5}}),
     ("Dense", {"name": "a", "units": 3, "kernel_initializer": "one", "use_bias": False,
                "kernel_regularizer": {"module": "keras.regularizers", "class_name": "L1L2",
                                       "config": {"l2": 0.5}, "registered_name": None}}),
     "a: the names of Keras 1", None),
    ("1.2.2", ("Convolution2D", {"name": "a", "nb_filter": 4, "nb_row": 3, "nb_col": 5,
                                 "subsample": [1, 2], "border_mode": "same", "dim_ordering": "tf"}),
     ("Conv2D", {"name": "a", "filters": 4, "strides": [1, 2], "padding": "same",
                 "kernel_size": [3, 5], "data_format": "channels_last"}),
     "a: the names of Keras 1", None),
    ("1.2.2", ("Convolution2D", {"name": "a", "nb_filter": 4, "dim_ordering": "th"}),
     None, None, "another order"),
    ("1.2.2", ("BatchNormalization", {"name": "a", "mode": 1}),
     None, None, "mode, which is gone"),
    ("1.2.2", ("Embedding", {"name": "a", "input_dim": 9, "output_dim": 3, "dropout": 0.0,
                             "init": "uniform", "input_length": 4}),
     ("Embedding", {"name": "a", "input_dim": 9, "output_dim": 3,
                    "embeddings_initializer": "uniform"}), "a: the names of Keras 1", None),
    ("1.2.2", ("GRU", {"name": "a", "output_dim": 3}), None, None,
     "a: GRU of Keras 1 is not upgraded"),
]  # fmt: skip


@pytest.mark.parametrize(("version", "before", "after", "done", "refused"), CASES)
def test_upgrades(version, before, after, done, refused):
    config = sequential(before)
    kept = copy.deepcopy(config)
    new, notes = upgraded(config, version)
    assert config == kept
    assert [refused in said for said in notes.refused] == ([True] if refused else [])
    if refused:
        return
    layer = new["config"]["layers"][-1]
    assert (layer["class_name"], layer["config"]) == after
    assert layer["module"] == "keras.layers"
    assert not done or done in notes.done
    again = upgraded(new, version)
    assert again[0] == new


def test_a_model_of_today_is_left_alone(tmp_path):
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.save(tmp_path / "new.keras")
    opened = surgery.open(tmp_path / "new.keras")
    upgrade = for_keras3(opened)
    assert upgrade.model is opened
    assert for_keras3(opened) is upgrade  # computed once
    assert not upgrade.notes


def test_the_plan_lists_what_is_upgraded(tmp_path):
    import tf_keras

    layers = tf_keras.layers
    model = tf_keras.Sequential([layers.LSTM(3, name="memory", input_shape=(4, 2))])
    model.save(tmp_path / "old.h5")
    done = command("convert", tmp_path / "old.h5", tmp_path / "new.keras")
    assert done.returncode == 0, done.stderr
    assert (
        "note: keras: the config is upgraded: memory: time_major: false is left out" in done.stdout
    )


def test_a_zip_of_tf_keras_is_upgraded_or_kept(tmp_path):
    import keras
    import tf_keras

    inputs = tf_keras.Input((4,))
    inner_in = tf_keras.Input((4,))
    inner = tf_keras.Model(inner_in, tf_keras.layers.Dense(3, name="d")(inner_in), name="inner")
    model = tf_keras.Model(inputs, tf_keras.layers.Dense(2, name="e")(inner(inputs)))
    model.compile("adam", "mse")
    model.save(tmp_path / "old.keras")
    plan = modern(tmp_path / "old.keras", tmp_path, config="keep")
    shutil.copy(tmp_path / "m.keras", tmp_path / "same.keras")
    assert any("the config is kept as Keras 2" in note for note in plan.notes)
    x = np.random.default_rng(0).random((3, 4), np.float32)
    again = tf_keras.models.load_model(tmp_path / "same.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    plan = modern(tmp_path / "old.keras", tmp_path)
    modern(tmp_path / "old.keras", tmp_path)
    new = keras.saving.load_model(tmp_path / "m.keras")
    assert type(new.optimizer) is keras.optimizers.Adam
    assert new.loss == "mse"
    np.testing.assert_allclose(new.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5)


@pytest.mark.parametrize("is_sequential", [False, True])
def test_calls_of_a_model_that_are_outputs_keep_their_order(is_sequential, tmp_path):
    import keras
    import tf_keras

    x, y = tf_keras.Input((4,)), tf_keras.Input((4,))
    inner = tf_keras.Sequential([tf_keras.Input((4,)), tf_keras.layers.Dense(4)], name="inner")
    if not is_sequential:
        z = tf_keras.Input((4,))
        inner = tf_keras.Model(z, tf_keras.layers.Dense(4)(z), name="inner")
    model = tf_keras.Model([x, y], [inner(x), inner(y)])
    model.save(tmp_path / "old.h5")
    surgery.save(surgery.open(tmp_path / "old.h5"), keras=tmp_path / "new.keras")
    given = list(np.random.default_rng(0).random((2, 3, 4), np.float32))
    new = keras.saving.load_model(tmp_path / "new.keras")
    for found, expected in zip(new(given), model(given), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_live_level_takes_old_models(tmp_path):
    """Evaluated as the Keras that wrote it does."""
    import tf_keras

    layers = tf_keras.layers
    model = tf_keras.Sequential([layers.Embedding(10, 4, input_length=5), layers.LSTM(3)])
    model.save(tmp_path / "old.h5")
    x = np.random.default_rng(0).integers(0, 10, (6, 5))
    np.save(tmp_path / "x.npy", x)
    recipe = {
        "surgery": 1,
        "load": str(tmp_path / "old.h5"),
        "steps": [{"predict": {"data": {"npy": {"x": str(tmp_path / "x.npy")}},
                               "export": str(tmp_path / "p.npz")}}],
        "export": [{"npz": str(tmp_path / "w.npz")}],
    }  # fmt: skip
    surgery.run(recipe)
    with np.load(tmp_path / "p.npz") as made:
        np.testing.assert_allclose(made["y"], model.predict(x, verbose=0), rtol=1e-4, atol=1e-6)
