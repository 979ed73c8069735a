"""What rides along: compile config and optimizer state, through every pair of formats."""

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
    stored = [t.numpy() for _, t in surgery.open(tmp_path / f"out.{target}").carried.optimizer]
    for ours, theirs in zip(model.optimizer.variables, stored, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs)
    if target == "keras":  # Keras 3.15 finds no optimizer state in any .h5 file, its own neither
        for ours, theirs in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
        assert loaded.optimizer.iterations == 2


def test_a_freeze_drops_the_state_and_says_so(trained, keras, tmp_path):
    frozen = surgery.freeze(surgery.open(trained[0] / "m.keras"), "a")
    assert frozen.carried.optimizer == ()
    assert any("optimizer state is dropped" in note for note in frozen.notes)
    surgery.save(frozen, keras=tmp_path / "out.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = keras.models.load_model(tmp_path / "out.keras")
    assert loaded.compiled
    loaded.fit(np.ones((2, 4)), np.ones((2, 2)), verbose=0)
    kept = trained[1].get_layer("a").kernel.numpy()
    np.testing.assert_array_equal(loaded.get_layer("a").kernel.numpy(), kept)


def test_vocabularies_ride_along(keras, tmp_path):
    lookup = keras.layers.StringLookup(vocabulary=["x", "y"])
    model = keras.Sequential(
        [keras.Input((1,), dtype="string"), lookup, keras.layers.Embedding(4, 2)]
    )
    model.save(tmp_path / "m.keras")
    surgery.save(surgery.open(tmp_path / "m.keras"), keras=tmp_path / "out.keras")
    loaded = keras.models.load_model(tmp_path / "out.keras")
    assert loaded.layers[0].get_vocabulary() == lookup.get_vocabulary()
