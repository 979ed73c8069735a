"""What rides along: compile config and optimizer state, through every pair of formats."""

import re
import warnings

import numpy as np
import pytest

import surgery


@pytest.fixture(scope="module")
def trained(keras, tmp_path_factory):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(5, name="a", activation="relu"), keras.layers.Dropout(0.5)]
    model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(2, name="b")])
    # With the loss "mse", Keras 3.15 cannot load the .h5 file that it writes itself.
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    rng = np.random.default_rng(0)
    model.fit(rng.random((32, 4)), rng.random((32, 2)), epochs=2, verbose=0)
    folder = tmp_path_factory.mktemp("trained")
    model.save(folder / "m.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(folder / "m.h5")
    return folder, model


@pytest.mark.parametrize("source", ["keras", "h5"])
@pytest.mark.parametrize("target", ["keras", "h5"])
def test_optimizer_and_compile_config(source, target, trained, keras, tmp_path):
    folder, model = trained
    scaled = surgery.scale(surgery.open(folder / f"m.{source}"), "b/kernel", by=2)
    surgery.save(scaled, **{target: tmp_path / f"out.{target}"})
    loaded = keras.models.load_model(tmp_path / f"out.{target}")
    assert loaded.compiled
    assert type(loaded.optimizer).__name__ == "Adam"
    assert getattr(loaded.loss, "__name__", loaded.loss) == "binary_crossentropy"
    stored = [t.numpy() for _, t in surgery.open(tmp_path / f"out.{target}").optimizer]
    for ours, theirs in zip(model.optimizer.variables, stored, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs)
    if target == "keras":  # Keras 3.15 finds no optimizer state in any .h5 file, its own neither
        for ours, theirs in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
        assert loaded.optimizer.iterations == 2


OPTIMIZERS = {
    "Adadelta": {},
    "Adafactor": {},
    "Adagrad": {},
    "Adam": {},
    "Adam-amsgrad": {"amsgrad": True},
    "Adam-ema": {"use_ema": True},
    "Adam-accumulating": {"gradient_accumulation_steps": 2},
    "AdamW": {},
    "Adamax": {},
    "Ftrl": {},
    "Lamb": {},
    "Lion": {},
    "LossScaleOptimizer": {},
    "Muon": {},
    "Nadam": {},
    "RMSprop": {},
    "RMSprop-all": {"momentum": 0.9, "centered": True},
    "SGD": {},
    "SGD-momentum": {"momentum": 0.9},
    "SGD-schedule": {"momentum": 0.9, "learning_rate": "schedule"},
    "ScheduleFreeAdamW": {},
}
UNTIED = {"Adafactor", "Muon"}  # their slots are not one of a kind for every weight


def optimizer_for(keras, name):
    keys = dict(OPTIMIZERS[name])
    if keys.get("learning_rate"):
        keys["learning_rate"] = keras.optimizers.schedules.ExponentialDecay(0.1, 3, 0.9)
    declared = getattr(keras.optimizers, name.partition("-")[0])
    if name == "LossScaleOptimizer":
        return declared(keras.optimizers.Adam())
    return declared(**keys)


@pytest.fixture(scope="module", params=OPTIMIZERS)
def fitted(request, keras, tmp_path_factory):
    """The name of an optimizer, a model that it has trained, b left out, and its file."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(4, name=name, activation="tanh") for name in "abc"]
    model = keras.Sequential(
        [keras.Input((4,)), *layers, keras.layers.BatchNormalization(name="n")]
    )
    model.layers[1].trainable = False  # b
    model.compile(optimizer_for(keras, request.param), "mean_absolute_error", run_eagerly=True)
    model.fit(*DATA, epochs=2, batch_size=8, verbose=0, shuffle=False)
    path = tmp_path_factory.mktemp("fitted") / "m.keras"
    model.save(path)
    return request.param, model, path


DATA = np.random.default_rng(0).random((2, 32, 4)).astype(np.float32)


def slots_of(optimizer):
    """By `a_kernel_momentum`: Keras's names begin with the model's and the optimizer's."""
    found = (
        (re.search(r"[abcn]_(kernel|bias|gamma|beta)_.*", v.path), v) for v in optimizer.variables
    )
    return {match[0]: variable for match, variable in found if match}


def by_hand(keras, fitted, name, trained):
    """The same with Keras: other layers trained, and the slots that are left carried over."""
    model = keras.models.clone_model(fitted)
    model.set_weights(fitted.get_weights())
    slots = slots_of(fitted.optimizer)
    numbers = [v.numpy() for v in fitted.optimizer.variables if not len(v.shape)]
    for layer in model.layers:
        layer.trainable = layer.name in trained
    optimizer = optimizer_for(keras, name)
    optimizer.build(model.trainable_variables)
    for key, variable in slots_of(optimizer).items():
        variable.assign(slots[key])
    for variable in optimizer.variables:
        if not len(variable.shape):
            variable.assign(numbers.pop(0))
    model.compile(optimizer, "mean_absolute_error", run_eagerly=True)
    return model


def test_optimizer_state_survives_a_freeze(fitted, keras, tmp_path):
    """Trained on, the loss is what it is where the same is done by hand."""
    name, model, path = fitted
    ours = surgery.open(path)
    if name in UNTIED:
        frozen = surgery.freeze(ours, "a")
        assert frozen.optimizer == ()
        assert any("optimizer state is dropped" in note for note in frozen.notes)
        return
    frozen = surgery.freeze(surgery.unfreeze(surgery.freeze(ours, "a"), "a"), "a")
    surgery.save(frozen, keras=tmp_path / "out.keras")
    loaded = keras.models.load_model(tmp_path / "out.keras")
    expected = by_hand(keras, model, name, {"c", "n"})
    for one, two in zip(loaded.optimizer.variables, expected.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy(), err_msg=one.path)
    loaded.run_eagerly = True
    keys = {"epochs": 2, "batch_size": 8, "verbose": 0, "shuffle": False}
    assert loaded.fit(*DATA, **keys).history == expected.fit(*DATA, **keys).history


def test_an_unfrozen_layer_begins_with_new_slots(fitted, keras, tmp_path):
    name, model, path = fitted
    ours = surgery.unfreeze(surgery.open(path), "b")
    if name in UNTIED:
        assert ours.optimizer == ()
        return
    surgery.save(ours, keras=tmp_path / "out.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Keras warns where it does not take an optimizer's state
        loaded = keras.models.load_model(tmp_path / "out.keras")
    fresh = optimizer_for(keras, name)
    fresh.build(loaded.trainable_variables)
    before, after, new = map(slots_of, (model.optimizer, loaded.optimizer, fresh))
    assert before.keys() <= after.keys() == new.keys()
    for key, variable in after.items():
        expected = before.get(key, new[key]).numpy()
        if key not in before and key.endswith("average"):
            expected = model.get_layer("b").get_weights()["bias" in key]
        np.testing.assert_array_equal(variable.numpy(), expected, err_msg=key)
    loaded.run_eagerly = True
    loaded.fit(*DATA, verbose=0)


def test_a_target_can_leave_the_optimizer_out(trained, keras, tmp_path):
    recipe = {
        "surgery": 1,
        "load": str(trained[0] / "m.keras"),
        "export": [
            {"keras": {"path": str(tmp_path / "without.keras"), "optimizer": "drop"}},
            {"keras": str(tmp_path / "with.keras")},
        ],
    }
    surgery.run(recipe)
    assert surgery.open(tmp_path / "with.keras").optimizer
    assert not surgery.open(tmp_path / "without.keras").optimizer
    assert not keras.models.load_model(tmp_path / "without.keras").compiled


def test_vocabularies_ride_along(keras, tmp_path):
    lookup = keras.layers.StringLookup(vocabulary=["x", "y"])
    model = keras.Sequential(
        [keras.Input((1,), dtype="string"), lookup, keras.layers.Embedding(4, 2)]
    )
    model.save(tmp_path / "m.keras")
    surgery.save(surgery.open(tmp_path / "m.keras"), keras=tmp_path / "out.keras")
    loaded = keras.models.load_model(tmp_path / "out.keras")
    assert loaded.layers[0].get_vocabulary() == lookup.get_vocabulary()
