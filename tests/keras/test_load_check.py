"""Keras is asked before an upgraded model is written, and what it says stands beside the output."""

import json
import zipfile

import numpy as np
import pytest

import surgery
from surgery.errors import SurgeryError
from surgery.live import loading
from tests.conftest import command


def old_model(tmp_path, *layers, name="old.h5"):
    import tf_keras

    model = tf_keras.Sequential([tf_keras.Input((5, 4)), *layers])
    model.save(tmp_path / name)
    return model


def converted(tmp_path, load="old.h5", **target):
    recipe = {
        "surgery": 1,
        "name": "r",
        "load": str(tmp_path / load),
        "export": [{"keras": {"path": str(tmp_path / "new.keras"), **target}}],
    }
    (tmp_path / "r.yaml").write_text(json.dumps(recipe))
    return surgery.run(tmp_path / "r.yaml")


def manifest(tmp_path):
    (output,) = json.loads((tmp_path / "r.run.json").read_text())["outputs"]
    return output


def test_what_was_checked_says_so(tmp_path):
    import tf_keras

    old_model(tmp_path, tf_keras.layers.LSTM(3))
    assert converted(tmp_path).outputs[0].check == "checked"
    assert manifest(tmp_path)["check"] == "checked"
    done = command("convert", tmp_path / "old.h5", tmp_path / "again.keras")
    assert ", checked)" in done.stdout
    planned = command("plan", tmp_path / "r.yaml")
    assert "checked by Keras before writing" in planned.stdout


@pytest.mark.parametrize(("target", "check"), [
    ({"check": "never"}, "not checked: check: never"), ({"config": "keep"}, ""),
])  # fmt: skip
def test_what_is_not_asked_says_why(tmp_path, target, check):
    import tf_keras

    old_model(tmp_path, tf_keras.layers.Dense(3))
    assert converted(tmp_path, **target).outputs[0].check == check
    assert manifest(tmp_path).get("check", "") == check


def test_a_model_of_keras_3_is_not_checked(small, tmp_path):
    surgery.save(surgery.open(small), keras=tmp_path / "copy.keras")
    assert surgery.open(tmp_path / "copy.keras").weights


def test_a_lambda_is_not_checked(tmp_path):
    import tf_keras

    old_model(tmp_path, tf_keras.layers.Lambda(lambda x: x * 2), tf_keras.layers.Dense(3))
    check = converted(tmp_path).outputs[0].check
    assert check == "not checked: a Lambda layer, whose code runs only with --allow-code"


def test_a_lambda_runs_with_leave(tmp_path, monkeypatch):
    import keras
    import tf_keras

    model = old_model(
        tmp_path, tf_keras.layers.Lambda(lambda x, by=2.0: x * by), tf_keras.layers.Dense(3)
    )
    monkeypatch.setenv("SURGERY_ALLOW_CODE", "1")
    assert converted(tmp_path).outputs[0].check == "checked"
    x = np.random.default_rng(0).random((3, 5, 4), np.float32)
    again = keras.saving.load_model(tmp_path / "new.keras", safe_mode=False)
    np.testing.assert_allclose(again(x), model(x), atol=1e-6)


def test_a_custom_class_is_not_checked(tmp_path):
    import tf_keras

    class Own(tf_keras.layers.Dense):
        pass

    old_model(tmp_path, Own(3, name="mine"))
    check = converted(tmp_path).outputs[0].check
    assert check == "not checked: mine is of a custom class, Own"


def test_keras_that_takes_too_long_is_not_waited_for(tmp_path, monkeypatch):
    import tf_keras

    monkeypatch.setattr(loading, "_SECONDS", 0.01)
    old_model(tmp_path, tf_keras.layers.Dense(3))
    assert converted(tmp_path).outputs[0].check == "not checked: Keras took more than 0.01 s"


def test_what_keras_refuses_is_not_written(tmp_path):
    """An argument that no version has, as a later Keras 2 might have had it."""
    import h5py
    import tf_keras

    old_model(tmp_path, tf_keras.layers.Dense(3, name="d"))
    with h5py.File(tmp_path / "old.h5", "a") as file:
        config = file.attrs["model_config"].replace('"use_bias"', '"new_in_2_99": 1, "use_bias"')
        file.attrs["model_config"] = config
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SurgeryError, match=r"cannot load.*d: .*new_in_2_99.*config: keep"):
        converted(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "r.yaml"])


def test_weights_that_keras_would_not_find_are_not_written(tmp_path):
    import h5py
    import tf_keras

    old_model(tmp_path, tf_keras.layers.Flatten(), tf_keras.layers.Dense(3, name="d"))
    with h5py.File(tmp_path / "old.h5", "a") as file:
        config = file.attrs["model_config"].replace("[null, 5, 4]", "[null, 5, 6]")
        file.attrs["model_config"] = config
    with pytest.raises(SurgeryError, match=r"a variable of d .*\[30, 3\] there.*\[20, 3\] here"):
        converted(tmp_path)
    assert not (tmp_path / "new.keras").exists()


def test_an_h5_file_for_keras_3(tmp_path):
    """Where it is asked for; else its config stays."""
    import keras
    import tf_keras

    model = old_model(
        tmp_path,
        tf_keras.layers.LSTM(3, recurrent_activation="hard_sigmoid", name="a/b"),
        tf_keras.layers.Dense(2, activation="hard_sigmoid"),
    )
    for config in ("upgrade", "keep"):
        target = {"path": str(tmp_path / f"{config}.h5"), "config": config}
        recipe = {"surgery": 1, "load": str(tmp_path / "old.h5"), "export": [{"h5": target}]}
        made = surgery.run(recipe)
        assert made.outputs[0].check == ("checked" if config == "upgrade" else "")
    x = np.random.default_rng(0).random((3, 5, 4), np.float32)
    new = keras.saving.load_model(tmp_path / "upgrade.h5", compile=False)
    np.testing.assert_allclose(new(x), model(x), atol=1e-6)
    kept = tf_keras.models.load_model(tmp_path / "keep.h5", compile=False)
    np.testing.assert_array_equal(kept(x), model(x))


def test_gates_are_scaled_in_the_target_only(tmp_path):
    import tf_keras

    gru = tf_keras.layers.GRU(3, recurrent_activation="hard_sigmoid", name="g")
    model = old_model(tmp_path, gru)
    recipe = {
        "surgery": 1,
        "load": str(tmp_path / "old.h5"),
        "steps": [{"scale": {"select": "g", "by": 2}}],
        "export": [{"keras": str(tmp_path / "new.keras")}, {"h5": str(tmp_path / "same.h5")},
                   {"npy": str(tmp_path / "npy")}],
    }  # fmt: skip
    surgery.run(recipe)
    stored = gru.cell.kernel.numpy() * 2
    name = "g/gru_cell/kernel"
    np.testing.assert_array_equal(surgery.open(tmp_path / "npy")[name].tensor.numpy(), stored)
    np.testing.assert_array_equal(surgery.open(tmp_path / "same.h5")[name].tensor.numpy(), stored)
    scaled = np.concatenate([stored[:, :6] * np.float32(1.2), stored[:, 6:]], axis=1)
    made = surgery.open(tmp_path / "new.keras")
    np.testing.assert_array_equal(made[name].tensor.numpy(), scaled)
    surgery.save(made, keras=tmp_path / "again.keras")  # it is Keras 3's now: no second time
    again = surgery.open(tmp_path / "again.keras")
    np.testing.assert_array_equal(again[name].tensor.numpy(), scaled)
    assert model.count_params() == made.parameters


def test_live_steps_give_back_what_is_stored(tmp_path):
    """Trained as Keras 3 has the gates, and kept as Keras 2 has them."""
    import tf_keras

    model = old_model(tmp_path, tf_keras.layers.LSTM(
        3, recurrent_activation="hard_sigmoid", name="a/b"), tf_keras.layers.Dense(2))  # fmt: skip
    x = np.random.default_rng(0).random((8, 5, 4), np.float32)
    np.savez(tmp_path / "d.npz", x=x, y=model.predict(x, verbose=0))
    data = {"npz": str(tmp_path / "d.npz"), "x": "x", "y": "y"}
    optimizer = {"sgd": {"learning_rate": 1e-6}}
    recipe = {
        "surgery": 1,
        "load": str(tmp_path / "old.h5"),
        "steps": [{"train": {"data": data, "loss": "mse", "optimizer": optimizer, "epochs": 1}}],
        "export": [{"h5": {"path": str(tmp_path / "new.h5"), "optimizer": "drop"}}],
    }
    surgery.run(recipe)
    old, new = surgery.open(tmp_path / "old.h5"), surgery.open(tmp_path / "new.h5")
    assert [w.address for w in new.weights] == [w.address for w in old.weights]
    for weight in old.weights:
        trained = new[weight.address].tensor.numpy()
        np.testing.assert_allclose(trained, weight.tensor.numpy(), rtol=1e-5, atol=1e-6)
    again = tf_keras.models.load_model(tmp_path / "new.h5", compile=False)
    np.testing.assert_allclose(again(x), model(x), atol=1e-5)


def test_names_with_slashes_are_told(tmp_path):
    import tf_keras

    names = [f"block/{number}" for number in range(8)]
    old_model(tmp_path, *(tf_keras.layers.Dense(2, name=name) for name in names))
    notes = converted(tmp_path).plan.notes
    told = ", ".join(f"block/{number} is block_{number}" for number in range(8))
    assert any(f"layers whose names contain a / are renamed: {told}" in note for note in notes)


def test_a_config_in_a_text_in_json(tmp_path):
    import tf_keras

    model = old_model(tmp_path, tf_keras.layers.LSTM(3, name="a"), tf_keras.layers.Dense(2))
    model.save_weights(tmp_path / "w.h5")
    (tmp_path / "m.json").write_text(json.dumps(model.to_json()))
    load = {"config": str(tmp_path / "m.json"), "weights": str(tmp_path / "w.h5")}
    recipe = {"surgery": 1, "load": load, "export": [{"keras": str(tmp_path / "new.keras")}]}
    surgery.run(recipe)
    import keras

    x = np.random.default_rng(0).random((3, 5, 4), np.float32)
    again = keras.saving.load_model(tmp_path / "new.keras")
    np.testing.assert_allclose(again(x), model(x), atol=1e-6)


def on_windows(source, target, layers="layers"):
    """The file as Keras on Windows wrote it: groups separated by backslashes."""
    import io

    import h5py

    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith(".h5"):
                buffer = io.BytesIO()
                with h5py.File(io.BytesIO(data)) as there, h5py.File(buffer, "w") as here:
                    _with_backslashes(there, here, layers)
                data = buffer.getvalue()
            new.writestr(name.replace("assets/layers", f"assets/{layers}"), data)


def _with_backslashes(there, here, layers):
    import h5py

    def copy(path, item):
        if isinstance(item, h5py.Dataset):
            *owner, variables, number = path.replace("layers", layers).split("/")
            here.require_group("\\".join(owner) + f"/{variables}")[number] = item[()]
            here["\\".join(owner) + f"/{variables}"].attrs.update(item.parent.attrs)

    there.visititems(copy)


@pytest.mark.parametrize("layers", ["layers", "_layer_checkpoint_dependencies"])
def test_files_of_windows(tmp_path, layers):
    import keras
    import tf_keras

    model = old_model(tmp_path, tf_keras.layers.LSTM(3), tf_keras.layers.Dense(2, name="d"),
                      tf_keras.layers.Dense(2, name="e"), name="old.keras")  # fmt: skip
    on_windows(tmp_path / "old.keras", tmp_path / "windows.keras", layers)
    opened = surgery.open(tmp_path / "windows.keras")
    assert "e/kernel" in opened.by_address
    converted(tmp_path, "windows.keras")
    x = np.random.default_rng(0).random((3, 5, 4), np.float32)
    again = keras.saving.load_model(tmp_path / "new.keras")
    np.testing.assert_allclose(again(x), model(x), atol=1e-6)


@pytest.mark.parametrize("layers", ["layers", "_layer_checkpoint_dependencies"])
def test_vocabularies_of_old_files(tmp_path, layers):
    """Kept in a file beside the weights, under the name of the layer's group."""
    import keras
    import tensorflow as tf
    import tf_keras

    lookup = tf_keras.layers.StringLookup(output_mode="one_hot")
    lookup.adapt(np.array([["a"], ["b"], ["b"]]))
    model = tf_keras.Sequential(
        [tf_keras.Input((1,), dtype="string"), lookup, tf_keras.layers.Dense(2)]
    )
    model.save(tmp_path / "now.keras")
    on_windows(tmp_path / "now.keras", tmp_path / "old.keras", layers)
    converted(tmp_path, "old.keras")
    x = tf.constant([["a"], ["b"], ["c"]])
    again = keras.saving.load_model(tmp_path / "new.keras")
    np.testing.assert_allclose(again(x), model(x), atol=1e-6)


def test_weights_of_windows_by_keras_3(small, tmp_path):
    import keras

    on_windows(small, tmp_path / "windows.keras")
    surgery.save(surgery.open(tmp_path / "windows.keras"), keras=tmp_path / "new.keras")
    x = np.random.default_rng(0).random((3, 4), np.float32)
    wanted = keras.saving.load_model(small)(x)
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "new.keras")(x), wanted)
