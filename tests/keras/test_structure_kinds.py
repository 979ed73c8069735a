"""Ops that change layers, on models of every kind: trained, frozen, quantised, of other files."""

import os
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

import surgery
from surgery.errors import SurgeryError
from tests.conftest import MODELS
from tests.keras import structures
from tests.keras.structures import randomise, written

OLD = Path(os.environ.get("SURGERY_OLD_KERAS", MODELS / "old-keras"))


@pytest.fixture
def saved(keras, tmp_path):
    """What Keras loads of a model."""
    return lambda model: structures.saved(keras, model, tmp_path / "out.keras")


@pytest.fixture(scope="module")
def trained(keras, tmp_path_factory):
    """A net with a nested model, a frozen layer and a Dropout, trained; its files, and its data."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    inner = keras.Input((4,), name="inner_in")
    x = layers.Dense(4, activation="relu", name="hidden")(inner)
    encoder = keras.Model(inner, layers.BatchNormalization(name="norm")(x), name="encoder")
    given = keras.Input((4,), name="given")
    frozen = layers.Dense(4, name="frozen", trainable=False)
    x = layers.Dropout(0.0, name="drop")(encoder(frozen(given)))
    x = layers.Activation("tanh", name="tanh")(layers.Dense(4, name="mid")(x))
    model = keras.Model(given, layers.Dense(2, name="out")(x), name="net")
    mae = keras.metrics.MeanAbsoluteError(name="mae")
    model.compile(keras.optimizers.Adam(0.01), keras.losses.MeanSquaredError(), metrics=[mae])
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(32, n)).astype("float32") for n in (4, 2))
    model.fit(x, y, epochs=2, shuffle=False, verbose=0)
    folder = tmp_path_factory.mktemp("trained")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(folder / "m.keras")
        keras.models.load_model(folder / "m.keras").save(folder / "m.h5")
    return folder, x, y


def slots(model):
    """The values of each weight's slots, by the weight's address."""
    return {w.address: [tensor.numpy().tobytes() for _, tensor in w.slots] for w in model.weights}


STEPS = {
    "extract": lambda m: surgery.extract(m, at="mid"),
    "remove": lambda m: surgery.remove(m, "tanh"),
    "flatten": lambda m: surgery.flatten(m, "encoder"),
    "prefix": lambda m: surgery.prefix(m, with_="t_"),
    "insert": lambda m: surgery.insert(m, after="mid", layer={"Dense": {"units": 4}}),
    "insert-inside": lambda m: surgery.insert(m, after="encoder/hidden", layer={"ReLU": {}}),
    "replace": lambda m: surgery.replace(m, "tanh", layer={"Dense": {"units": 4}}),
    "append": lambda m: surgery.append(m, layers=[{"Dense": {"units": 2}}]),
    "replace_head": lambda m: surgery.replace_head(m, after="mid", classes=2, activation=None),
    "set_config": lambda m: surgery.set_config(m, "mid", keys={"activation": "relu"}),
    "resize_input": lambda m: surgery.resize_input(m, channels=4),
}


@pytest.mark.parametrize("name", STEPS)
def test_slots_follow_and_fit_goes_on(name, trained, keras, saved, tmp_path):
    folder, x, y = trained
    before = surgery.open(folder / "m.keras")
    after = STEPS[name](before)
    new = saved(after)
    then = {
        {"prefix": f"t_{address}".replace("/", "/t_", address.count("/") - 1)}.get(name, address)
        if name != "flatten" else address.replace("encoder/", "encoder_"): values
        for address, values in slots(before).items()
    }  # fmt: skip
    made = {"dense/kernel", "dense/bias", "head/kernel", "head/bias", "tanh/kernel", "tanh/bias"}
    made |= {"frozen/kernel"} if name == "resize_input" else set()
    now = slots(surgery.open(tmp_path / "out.keras"))
    kept = {address: values for address, values in now.items() if address not in made}
    assert len(kept) >= 8
    if new.optimizer is None:  # trap 10: a loss for an output that is gone
        assert name == "extract"
        assert any("no longer compiled" in note for note in after.notes)
        new.compile("adam", "mse")
    else:
        assert kept == {address: then[address] for address in kept}
        assert int(new.optimizer.iterations.numpy()) == 2
        assert float(new.optimizer.learning_rate) == pytest.approx(0.01)
    layer = new.get_layer("t_frozen" if name == "prefix" else "frozen")
    assert not layer.trainable
    fixed = layer.get_weights()
    target = y if new.output_shape[-1] == 2 else np.concatenate([y, y], -1)
    losses = new.fit(x, target, epochs=2, shuffle=False, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert all(map(np.array_equal, fixed, layer.get_weights()))


@pytest.mark.parametrize("source", ["keras", "h5"])
@pytest.mark.parametrize("name", ["flatten", "prefix"])
def test_the_next_epoch_is_the_same_one(name, source, trained, keras, saved):
    folder, x, y = trained
    new = saved(STEPS[name](surgery.open(folder / f"m.{source}")))
    old = structures.loaded(keras, folder / "m.keras")  # Keras does not train the .h5 again
    losses = [m.fit(x, y, epochs=2, shuffle=False, verbose=0).history for m in (old, new)]
    np.testing.assert_allclose(losses[1]["loss"], losses[0]["loss"], rtol=1e-6)
    np.testing.assert_allclose(losses[1]["mae"], losses[0]["mae"], rtol=1e-6)


WRITERS = ["keras", "h5", "weights_h5", "npz", "safetensors", "savedmodel"]


@pytest.mark.parametrize("writer", WRITERS)
def test_every_writer(writer, trained, keras, tmp_path):
    folder, x, _ = trained
    model = surgery.open(folder / "m.keras")
    model = surgery.flatten(surgery.remove(model, "tanh"), "encoder")
    surgery.save(model, keras=tmp_path / "m.keras")
    expected = structures.loaded(keras, tmp_path / "m.keras")(x)
    suffix = {"weights_h5": ".weights.h5", "savedmodel": ""}.get(writer, f".{writer}")
    path = tmp_path / f"w{suffix}"
    surgery.save(model, **{writer: path})
    if writer == "savedmodel":
        import tensorflow as tf

        served = tf.saved_model.load(str(path)).signatures["serving_default"](tf.constant(x))
        np.testing.assert_allclose(next(iter(served.values())), expected, rtol=1e-5, atol=1e-6)
        return
    if writer in ("npz", "safetensors"):
        back = surgery.open(path)
        assert {w.address for w in back.weights} == {w.address for w in model.weights}
        return
    if writer == "h5":
        new = structures.loaded(keras, path)
    else:
        new = structures.loaded(keras, tmp_path / "m.keras")
        new.set_weights([np.zeros_like(value) for value in new.get_weights()])
        new.load_weights(path)
    assert structures.equal(keras, expected, new(x))


def test_mixed_precision(keras, saved, tmp_path):
    """Trap 11: new layers have the policy of the layers around them."""
    policy = "mixed_float16"
    given = keras.Input((4,), name="given")
    hidden = keras.layers.Dense(4, dtype=policy, name="a")(given)
    model = keras.Model(given, keras.layers.Dense(2, dtype=policy, name="b")(hidden))
    ours, theirs = written(keras, randomise(model), tmp_path / "m.keras")
    new = saved(surgery.insert(ours, after="a", layer={"Dense": {"units": 4, "name": "new"}}))
    assert new.get_layer("new").dtype_policy.name == policy
    made = surgery.insert(
        ours, after="a", layer={"Dense": {"units": 4, "name": "new"}}, dtype="float32"
    )
    assert saved(made).get_layer("new").dtype_policy.name == "float32"
    new = saved(surgery.replace_head(ours, after="a", classes=3))
    assert new.get_layer("head").dtype_policy.name == policy
    x = structures.inputs_of(keras, theirs)
    new = saved(surgery.extract(ours, at="a"))
    assert structures.equal(keras, theirs.get_layer("a")(x), new(x))


def adapted(keras, name):
    layer = keras.layers.StringLookup(name=name)
    layer.adapt(np.array(["x", "y", "y", name]))
    return layer


def test_vocabularies_are_kept_and_moved(keras, saved, tmp_path):
    words = keras.Input((1,), dtype="string", name="words")
    inner_words = keras.Input((1,), dtype="string", name="inner_words")
    inner = keras.Model(inner_words, adapted(keras, "deep")(inner_words), name="inner")
    outputs = [adapted(keras, "one")(words), adapted(keras, "two")(words), inner(words)]
    embedded = [keras.layers.Embedding(9, 2, name=f"e{n}")(x) for n, x in enumerate(outputs)]
    model = keras.Model(words, keras.layers.Concatenate(name="all")(embedded))
    model.save(tmp_path / "m.keras")
    ours, theirs = (
        surgery.open(tmp_path / "m.keras"),
        structures.loaded(keras, tmp_path / "m.keras"),
    )
    x = keras.ops.convert_to_tensor(np.array([["x"], ["two"], ["deep"], ["y"]]))
    assert structures.equal(keras, theirs(x), saved(surgery.flatten(ours, "inner"))(x))
    assert structures.equal(keras, theirs(x), saved(surgery.prefix(ours, with_="t_"))(x))
    for at in ("e1", "e2"):
        cut = saved(surgery.extract(ours, at=at))
        expected = keras.Model(theirs.input, theirs.get_layer(at).output)
        assert structures.equal(keras, expected(x), cut(x))
    names = zipfile.ZipFile(tmp_path / "out.keras").namelist()
    assert sum("vocabulary" in name for name in names) <= 1


def test_a_custom_layer_whose_code_is_not_there(keras, tmp_path):
    """It can be cut where the graph is known."""

    @keras.saving.register_keras_serializable("structure_tests")
    class Shift(keras.layers.Layer):
        def build(self, shape):
            self.by = self.add_weight(shape=(shape[-1],), name="by", initializer="ones")

        def call(self, x):
            return x + self.by

    given = keras.Input((4,), name="given")
    x = keras.layers.Dense(4, name="a")(given)
    x = Shift(name="shift")(x)
    model = keras.Model(given, keras.layers.Dense(2, name="b")(x))
    ours, theirs = written(keras, randomise(model), tmp_path / "m.keras")
    x = structures.inputs_of(keras, theirs)
    name = keras.saving.get_registered_name(Shift)
    hidden = theirs.get_layer("a")(x)
    shifted = theirs.get_layer("shift")(hidden)
    out = theirs.get_layer("b")
    custom = keras.saving.get_custom_objects()
    cut = surgery.extract(ours, at="shift")
    del custom[name]
    try:
        surgery.save(surgery.extract(ours, at="a"), keras=tmp_path / "a.keras")
        assert structures.equal(keras, hidden, structures.loaded(keras, tmp_path / "a.keras")(x))
        surgery.save(surgery.remove(ours, "shift"), keras=tmp_path / "b.keras")
        new = structures.loaded(keras, tmp_path / "b.keras")
        assert structures.equal(keras, out(hidden), new(x))
        surgery.save(surgery.prefix(cut, with_="p_"), keras=tmp_path / "c.keras")
    finally:
        custom[name] = Shift
    new = structures.loaded(keras, tmp_path / "c.keras")
    assert structures.equal(keras, shifted, new(x))


def test_quantised_layers(keras, saved, tmp_path):
    given = keras.Input((4,), name="given")
    x = keras.layers.Dense(4, name="a")(given)
    inner = keras.Input((4,), name="inner_in")
    nested = keras.Model(inner, keras.layers.Dense(4, name="b")(inner), name="nested")
    model = randomise(keras.Model(given, keras.layers.Dense(2, name="c")(nested(x))))
    model.quantize("int8")
    ours, theirs = written(keras, model, tmp_path / "m.keras")
    x = structures.inputs_of(keras, theirs)
    assert structures.equal(keras, theirs(x), saved(surgery.flatten(ours, "nested"))(x))
    assert structures.equal(keras, theirs(x), saved(surgery.prefix(ours, with_="t_"))(x))
    new = saved(surgery.extract(ours, at="nested"))
    nested = theirs.get_layer("nested")
    assert structures.equal(keras, nested(theirs.get_layer("a")(x)), new(x))
    new = saved(surgery.insert(ours, after="a", layer={"Dense": {"units": 4, "name": "new"}}))
    assert new.get_layer("new").dtype_policy.name == "float32"
    assert new.get_layer("a").kernel.dtype == "int8"


@pytest.mark.parametrize("form", ["keras", "h5"])
def test_lora(form, keras, saved, tmp_path):
    given = keras.Input((4,), name="given")
    layers = [keras.layers.Dense(4, name=name) for name in ("a", "b")]
    model = keras.Model(given, keras.layers.Dense(2, name="c")(layers[1](layers[0](given))))
    randomise(model)
    for layer in layers:
        layer.enable_lora(2, lora_alpha=4)
        layer.lora_kernel_b.assign(np.ones(layer.lora_kernel_b.shape))
    x = structures.inputs_of(keras, model)
    expected = model(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(tmp_path / f"m.{form}")
    ours = surgery.open(tmp_path / f"m.{form}")
    new = saved(surgery.lora_merge(ours, "**"))
    assert structures.difference(keras, expected, new(x)) < 1e-6
    assert not new.get_layer("a").lora_enabled
    assert len(new.trainable_weights) == 6
    with pytest.raises(SurgeryError, match="c names no layer with LoRA; a, b has it"):
        surgery.lora_merge(ours, "c")
    one = surgery.lora_merge(ours, "a")
    assert [w.address for w in one.weights if "lora" in w.address] == (
        ["b/lora_kernel_a", "b/lora_kernel_b"] if form == "h5" else []
    )
    surgery.save(one, h5=tmp_path / "one.h5")  # which is laid out anew, and so without LoRA
    new = structures.loaded(keras, tmp_path / "one.h5")
    assert structures.difference(keras, expected, new(x)) < 1e-6
    surgery.save(surgery.extract(ours, at="b"), h5=tmp_path / "cut.h5")
    cut = structures.loaded(keras, tmp_path / "cut.h5")
    expected = keras.Model(model.input, model.get_layer("b").output)(x)
    assert structures.difference(keras, expected, cut(x)) < 1e-6


def test_a_savedmodel_of_keras_3_is_refused_by_name(trained, keras, tmp_path):
    """It has no layers: a SavedModel that Keras 3 exports is a graph of TensorFlow's."""
    folder, *_ = trained
    structures.loaded(keras, folder / "m.keras").export(tmp_path / "exported", verbose=False)
    with pytest.raises(SurgeryError, match="extract acts on layers"):
        surgery.extract(surgery.open(tmp_path / "exported"), at="mid")


def test_weights_alone_have_no_layers(trained, keras, tmp_path):
    folder, *_ = trained
    surgery.save(surgery.open(folder / "m.keras"), weights_h5=tmp_path / "m.weights.h5")
    model = surgery.open(tmp_path / "m.weights.h5")
    with pytest.raises(SurgeryError, match="holds weights only, and remove acts on layers; load"):
        surgery.remove(model, "tanh")


def old_files():
    """Files of the real Keras 2 with nested models, one of them frozen, one called twice."""
    found = [
        path for path in (OLD / "2.15.1").glob("*.h5") if path.stem in ("nested_frozen", "siamese")
    ]
    missing = pytest.mark.skip(reason=f"the models of old Keras are not at {OLD}")
    return sorted(found) or [pytest.param(OLD, marks=missing, id="missing")]


@pytest.mark.parametrize("path", old_files(), ids=lambda path: path.stem)
def test_files_of_keras_2_are_upgraded_first(path, keras, saved, tmp_path):
    recipe = {"surgery": 1, "load": str(path), "export": [{"keras": str(tmp_path / "new.keras")}]}
    surgery.run(recipe)
    theirs = structures.loaded(keras, tmp_path / "new.keras")
    surgery.run({**recipe, "steps": [{"flatten": {"select": "**"}}],
                 "export": [{"keras": str(tmp_path / "flat.keras")}]})  # fmt: skip
    flat = structures.loaded(keras, tmp_path / "flat.keras")
    assert not [layer for layer in flat.layers if isinstance(layer, keras.Model)]
    x = structures.inputs_of(keras, theirs)
    assert structures.equal(keras, theirs(x), flat(x))


def test_losses_by_the_names_of_outputs_outlive_other_names_of_layers(keras, tmp_path):
    """Outputs that have names of their own keep them when their layers get others."""
    x = keras.Input((3,))
    model = keras.Model(x, {"d": keras.layers.Dense(2, name="d")(x)})
    model.compile("sgd", loss={"d": "mse"})
    model.save(tmp_path / "m.keras")
    surgery.save(
        surgery.prefix(surgery.open(tmp_path / "m.keras"), with_="t_"), keras=tmp_path / "t.keras"
    )
    loaded = keras.models.load_model(tmp_path / "t.keras")
    assert loaded.loss == {"d": "mse"}
    loaded.fit(np.ones((4, 3)), {"d": np.ones((4, 2))}, verbose=0)


@pytest.mark.parametrize(
    "keys",
    [
        {"at": {"z": "p", "a": "q"}},
        {"at": "p", "inputs": "used"},
    ],
)
def test_extract_is_compared_output_by_output(keys, keras, tmp_path):
    one, two = keras.Input((3,), name="one"), keras.Input((3,), name="two")
    p = keras.layers.Dense(4, name="p")(one)
    q = keras.layers.Dense(2, name="q")(two)
    keras.Model([one, two], [keras.layers.Dense(1, name="r")(p), q]).save(tmp_path / "m.keras")
    made = surgery.extract(surgery.open(tmp_path / "m.keras"), verify=True, **keys)
    assert "p/kernel" in made.by_address


def test_steps_of_a_wrapped_model_are_looked_at_as_they_are(keras, tmp_path):
    """A size inside of what TimeDistributed wraps decides, not the last axis alone."""
    inner = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(2)])
    x = inputs = keras.Input((5, 4, 4, 1))
    x = keras.layers.Identity(name="i")(x)
    keras.Model(inputs, keras.layers.TimeDistributed(inner, name="t")(x)).save(tmp_path / "m.keras")
    layer = {"ZeroPadding3D": {"padding": [0, 1, 1]}}
    with pytest.raises(SurgeryError, match=r"t .*would not fit"):
        surgery.replace(surgery.open(tmp_path / "m.keras"), "i", layer=layer)


def test_a_number_alone_for_a_class_that_takes_several(keras, tmp_path):
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="a")]).save(
        tmp_path / "m.keras"
    )
    model = surgery.open(tmp_path / "m.keras")
    with pytest.raises(SurgeryError, match="write the arguments of l1_l2 by name"):
        surgery.set_config(model, "a", keys={"kernel_regularizer": {"l1_l2": 0.01}})
