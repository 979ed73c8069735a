"""Layers and models that are not Keras's own: what is not known is kept as it is, or refused."""

import json
import warnings
import zipfile

import numpy as np
import pytest

import surgery
from surgery.errors import FormatError


@pytest.fixture(scope="module")
def classes(keras):
    """Registered classes: a leaf, a block with layers inside, and one named as Keras's own."""
    register = keras.saving.register_keras_serializable

    @register("tests")
    class Shift(keras.layers.Layer):
        def build(self, shape):
            self.moving = self.add_weight(shape=(shape[-1],), name="moving", trainable=False)
            self.by = self.add_weight(shape=(shape[-1],), name="by")

        def call(self, x):
            return x + self.by + self.moving

    @register("tests")
    class Block(keras.layers.Layer):
        def __init__(self, **keys):
            super().__init__(**keys)
            self.norm = keras.layers.BatchNormalization(name="norm")
            self.dense = keras.layers.Dense(4, name="dense")

        def build(self, shape):
            self.norm.build(shape)
            self.dense.build(shape)

        def call(self, x):
            return self.dense(self.norm(x))

        def get_config(self):
            return super().get_config()

    @register("tests", name="LayerNormalization")
    class LayerNormalization(keras.layers.Layer):
        def build(self, shape):
            self.beta = self.add_weight(shape=(shape[-1],), name="beta")
            self.gamma = self.add_weight(shape=(shape[-1],), name="gamma")

        def call(self, x):
            return x * self.gamma + self.beta

    return Shift, Block, LayerNormalization


def numbered(keras, model):
    """The model with another value in every weight."""
    for number, weight in enumerate(model.weights):
        values = np.arange(weight.numpy().size).reshape(weight.shape) + number * 100
        weight.assign(values.astype(weight.dtype))
    return model


def around(keras, layer, name="inner"):
    """A nested model with Dense layers of one shape before and behind the layer."""
    dense = keras.layers.Dense
    inputs = keras.Input((4,))
    inner = keras.Model(inputs, dense(4, name="last")(layer(dense(4, name="first")(inputs))))
    inner.name = name
    inputs = keras.Input((4,))
    return numbered(keras, keras.Model(inputs, dense(4, name="out")(inner(inputs))))


def saved(keras, model, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(path)
    return path


def same(one, two):
    pairs = zip(one.weights, two.weights, strict=True)
    return all(np.array_equal(a.numpy(), b.numpy()) for a, b in pairs)


@pytest.mark.parametrize("form", ["keras", "h5"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_copy_is_what_it_was(form, number, classes, keras, tmp_path):
    model = around(keras, classes[number](name="mine"))
    path = saved(keras, model, tmp_path / f"m.{form}")
    surgery.save(surgery.open(path), **{form: tmp_path / f"copy.{form}"})
    assert same(keras.models.load_model(tmp_path / f"copy.{form}"), model)


@pytest.mark.parametrize("number", [0, 1])
def test_a_freeze_that_would_reorder_what_is_not_known_is_refused(number, classes, keras, tmp_path):
    path = saved(keras, around(keras, classes[number](name="mine")), tmp_path / "m.h5")
    frozen = surgery.freeze(surgery.open(path), "inner/first")
    with pytest.raises(FormatError, match=r"mine .* is not a Keras layer; write keras instead"):
        surgery.save(frozen, h5=tmp_path / "out.h5")
    surgery.save(surgery.freeze(surgery.open(path), "out"), h5=tmp_path / "out.h5")
    loaded = keras.models.load_model(tmp_path / "out.h5")
    assert [w.path for w in loaded.non_trainable_weights][-2:] == ["out/kernel", "out/bias"]


def test_a_class_named_as_keras_s_own_is_not_taken_for_it(classes, keras, tmp_path):
    inputs = keras.Input((4,))
    model = numbered(keras, keras.Model(inputs, classes[2](name="ln")(inputs)))
    for form in ("keras", "h5"):
        ours = surgery.open(saved(keras, model, tmp_path / f"m.{form}"))
        assert ours.architecture.by_address["ln"].class_name == "tests>LayerNormalization"
        names = {"keras": ["ln/0", "ln/1"], "h5": ["ln/beta", "ln/gamma"]}
        assert [w.address for w in ours.weights] == names[form]
        for target in ("keras", "h5"):
            surgery.save(ours, **{target: tmp_path / f"copy.{target}"})
            assert same(keras.models.load_model(tmp_path / f"copy.{target}"), model)


def test_a_custom_layer_that_forgets_its_freeze(classes, keras, tmp_path):
    for number, forgets in ((0, False), (1, True)):
        path = saved(keras, around(keras, classes[number](name="mine")), tmp_path / "m.keras")
        frozen = surgery.freeze(surgery.open(path), "inner/mine")
        assert any("forgets" in note for note in frozen.notes) == forgets
        surgery.save(frozen, keras=tmp_path / "out.keras")
        loaded = keras.models.load_model(tmp_path / "out.keras")
        mine = {id(w) for w in loaded.get_layer("inner").get_layer("mine").variables}
        trained = any(id(w) in mine for w in loaded.trainable_weights)
        assert trained == forgets  # the day this fails, Keras remembers


def test_cells_and_directions_of_one_name(keras, tmp_path):
    keras.backend.clear_session()  # which names the cells anew
    layers = keras.layers
    inputs = keras.Input((3, 4))
    cells = [layers.LSTMCell(4, name="same"), layers.LSTMCell(4, name="same")]
    x = layers.RNN(cells, return_sequences=True, name="stack")(inputs)
    directions = (
        layers.GRU(2, return_sequences=True, name="forward_same"),
        layers.GRU(2, return_sequences=True, go_backwards=True, name="forward_same"),
    )
    x = layers.Bidirectional(directions[0], backward_layer=directions[1], name="bi")(x)
    model = numbered(keras, keras.Model(inputs, x))
    ours = surgery.open(saved(keras, model, tmp_path / "m.keras"))  # Keras cannot save it as .h5
    assert len({w.address for w in ours.weights}) == len(model.weights) == 12
    assert "stack/stacked_rnn_cells/same_1/kernel" in ours.by_address
    assert "bi/forward_same_1/gru_cell/kernel" in ours.by_address
    changed = surgery.shift(ours, "**/same_1/bias", by=1)
    for form in ("keras", "h5"):
        surgery.save(changed, **{form: tmp_path / f"out.{form}"})
        loaded = keras.models.load_model(tmp_path / f"out.{form}")
        pairs = zip(model.weights, loaded.weights, strict=True)
        assert [np.unique(b - a).tolist() for a, b in pairs] == [*[[0]] * 5, [1], *[[0]] * 6]


def test_what_h5_cannot_hold_is_refused(keras, tmp_path):
    @keras.saving.register_keras_serializable("tests")
    class Own(keras.Model):
        def __init__(self, **keys):
            super().__init__(**keys)
            self.dense = keras.layers.Dense(2, name="dense")

        def call(self, x):
            return self.dense(x)

    own = Own()
    own(np.zeros((1, 4)))
    path = saved(keras, own, tmp_path / "m.keras")
    with pytest.raises(FormatError, match="Own is a custom model class"):
        surgery.save(surgery.open(path), h5=tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()


@pytest.mark.parametrize("source", ["keras", "h5"])
@pytest.mark.parametrize("target", ["keras", "h5"])
def test_losses_and_metrics_that_are_objects(source, target, keras, tmp_path):
    @keras.saving.register_keras_serializable("tests")
    class Difference(keras.losses.Loss):
        def call(self, true, predicted):
            return keras.ops.mean(true - predicted, -1)

    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    outputs = [keras.layers.Dense(2, name=name)(inputs) for name in "ab"]
    model = keras.Model(inputs, outputs)
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    model.compile(
        keras.optimizers.SGD(schedule, momentum=0.9),
        loss=[keras.losses.Huber(delta=0.3), Difference()],
        metrics=[[keras.metrics.MeanAbsoluteError()], [keras.metrics.AUC(num_thresholds=50)]],
        loss_weights=[0.25, 1.0],
    )
    x, y = np.ones((4, 4), "float32"), [np.ones((4, 2), "float32")] * 2
    model.fit(x, y, verbose=0)
    path = saved(keras, model, tmp_path / f"m.{source}")
    surgery.save(surgery.open(path), **{target: tmp_path / f"out.{target}"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = keras.models.load_model(tmp_path / f"out.{target}")
        expected = keras.models.load_model(path)
    assert loaded.evaluate(x, y, verbose=0) == expected.evaluate(x, y, verbose=0)
    assert loaded.optimizer.get_config() == model.optimizer.get_config()


def test_a_compile_config_without_an_optimizer_is_left_out_of_h5(keras, tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.compile("adam", "mae")
    path = saved(keras, model, tmp_path / "m.keras")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    del config["compile_config"]["optimizer"]
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    from surgery.formats.base import formats

    ours = surgery.open(path)
    assert "names no optimizer" in formats()["h5"].notes(ours)[0]
    surgery.save(ours, h5=tmp_path / "out.h5")
    assert not keras.models.load_model(tmp_path / "out.h5").compiled


def test_keras_can_write_over_a_file_that_is_open_here(keras, tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    for form in ("keras", "h5", "weights.h5"):
        path = tmp_path / f"m.{form}"
        save = model.save_weights if form == "weights.h5" else model.save
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            save(path)
            opened = surgery.open(path)
            path.unlink() if form == "keras" else None
            save(path)
        assert opened.weights
