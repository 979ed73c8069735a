"""keras.applications, resolved without memory, against the real ones."""

import inspect

import numpy as np
import pytest

import surgery
from surgery.errors import SurgeryError
from surgery.live.applications import _COMMON, ARGUMENTS, WeightsOf
from surgery.live.symbolic import symbolic_model, without_memory
from surgery.recipe.sources import FromApplication
from tests.conftest import THOROUGH, command

SMALL = {"alpha": 0.35, "input_shape": (96, 96, 3), "classes": 10}


def application(name, weights="none", path=None, **arguments):
    return FromApplication(application=name, weights=WeightsOf(weights, path), **arguments)


def functions(keras):
    return {n: f for n, f in vars(keras.applications).items() if inspect.isfunction(f)}


def test_the_table_of_arguments_is_keras_s_own(keras):
    found = functions(keras)
    assert set(found) == set(ARGUMENTS)
    for name, function in found.items():
        theirs = set(inspect.signature(function).parameters) - {"weights", "input_tensor"}
        assert theirs == {*_COMMON, *ARGUMENTS[name]}, name


# Keras takes seconds for each of these; their smaller kin are made by the same function.
LARGE = {"EfficientNetB3", "EfficientNetB4", "EfficientNetB5", "EfficientNetB6", "EfficientNetB7",
         "EfficientNetV2M", "EfficientNetV2L", "ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtXLarge",
         "DenseNet169", "DenseNet201", "NASNetLarge", "ResNet101", "ResNet101V2", "ResNet152",
         "ResNet152V2"}  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(ARGUMENTS) - (set() if THOROUGH else LARGE)))
def test_every_application_resolves(name, keras):
    """Its weights have the shapes, names and flags of the real model's, in the same order."""
    model = application(name).open(0)
    with without_memory():
        real = getattr(keras.applications, name)(weights=None)
        # Keras leaves the variable of its LayerScale without a name.
        names = ["gamma" if v.name.startswith("variable") else v.name for v in real.weights]
        assert [w.variable for w in model.weights] == names
        assert [w.tensor.shape for w in model.weights] == [v.shape for v in real.weights]
        trained = {id(v) for v in real.trainable_weights}
        assert [w.trainable for w in model.weights] == [id(v) in trained for v in real.weights]


def test_what_is_written_is_the_real_architecture(keras, tmp_path):
    model = application("MobileNetV2", **SMALL).open(7)
    surgery.save(model, keras=tmp_path / "m.keras", h5=tmp_path / "m.h5")
    real = keras.applications.MobileNetV2(weights=None, **SMALL)
    image = np.random.default_rng(0).random((1, 96, 96, 3), np.float32)
    predictions = []
    for path in (tmp_path / "m.keras", tmp_path / "m.h5"):
        loaded = keras.models.load_model(path, compile=False)
        assert [type(x).__name__ for x in loaded.layers] == [type(x).__name__ for x in real.layers]
        for ours, theirs in zip(model.weights, loaded.weights, strict=True):
            np.testing.assert_array_equal(ours.tensor.numpy(), theirs.numpy())
        predictions.append(np.asarray(loaded(image)))
    np.testing.assert_array_equal(*predictions)


@pytest.mark.parametrize("suffix", ["weights.h5", "h5", "keras"])
def test_weights_from_a_file(suffix, keras, tmp_path):
    keras.utils.set_random_seed(5)
    real = keras.applications.MobileNetV2(weights=None, **SMALL)
    path = tmp_path / f"w.{suffix}"
    if suffix == "weights.h5":
        real.save_weights(path)
    else:
        real.save(path)
    model = application("MobileNetV2", str(path), path, **SMALL).open(0)
    for ours, theirs in zip(model.weights, real.weights, strict=True):
        np.testing.assert_array_equal(ours.tensor.numpy(), theirs.numpy())
    assert path in model.inputs


def test_automatic_names_are_matched_by_order(keras, tmp_path):
    """Xception has layers without names; a file of another process counts them differently."""
    keras.layers.Conv2D(1, 1)
    real = keras.applications.Xception(weights=None, classes=3, input_shape=(75, 75, 3))
    real.save(tmp_path / "w.h5")
    import h5py

    with h5py.File(tmp_path / "w.h5", "r+") as file:  # weights alone, as Keras publishes them
        for name, value in list(file["model_weights"].attrs.items()):
            file.attrs[name] = value
        for name in list(file["model_weights"]):
            file.move(f"model_weights/{name}", name)
        del file["model_weights"]
        del file.attrs["model_config"]
    source = application("Xception", "w", tmp_path / "w.h5", classes=3, input_shape=(75, 75, 3))
    for ours, theirs in zip(source.open(0).weights, real.weights, strict=True):
        np.testing.assert_array_equal(ours.tensor.numpy(), theirs.numpy())


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/surgery"


def test_what_else_the_process_does_with_keras_changes_nothing(keras, cache):
    """Neither automatic names nor dtypes; and it changes nothing for the process."""
    config = {"classes": 3, "input_shape": (75, 75, 3)}
    first = keras.layers.Conv2D(1, 1).name
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = application("Xception", **config).open(0)
        assert keras.config.dtype_policy().name == "mixed_float16"
    finally:
        keras.config.set_dtype_policy("float32")
    second = keras.layers.Conv2D(1, 1).name
    number = int(first.removeprefix("conv2d").strip("_") or 0)
    assert second == f"conv2d_{number + 1}"
    names = [layer.name for layer in model.architecture.layers if layer.name.startswith("conv2d")]
    assert names == ["conv2d", "conv2d_1", "conv2d_2", "conv2d_3"]
    assert {layer.config["dtype"]["config"]["name"] for layer in model.architecture.layers
            if "dtype" in layer.config and layer.class_name == "Conv2D"} == {"float32"}  # fmt: skip
    for path in cache.glob("applications/*"):
        path.unlink()
    again = application("Xception", **config).open(0)
    assert again.architecture.config == model.architecture.config


def test_the_cache_checks_what_it_holds(keras, cache):
    """What is damaged, or of another key, is made again; `surgery cache` shows all, and prunes."""
    source = application("MobileNetV2", **SMALL)
    found = source.resolve()
    (path,) = cache.glob("applications/MobileNetV2-*.json")
    whole = path.read_text()
    assert application("MobileNetV2", **SMALL).is_cached
    other = whole.replace("0.35", "0.75")
    for text in ("", "{", whole[:-9], whole.replace("Conv1", "Conv2"), other):
        path.write_text(text)
        fresh = application("MobileNetV2", **SMALL)
        assert not fresh.is_cached
        assert fresh.resolve() == found
        assert path.read_text() == whole
    shown = command("cache").stdout
    assert f"applications/{path.name}" in shown
    assert "1 result kept" in shown
    assert command("cache", "prune").stdout.startswith("removed ")
    assert not path.exists()


def test_a_file_that_does_not_fit(keras, tmp_path):
    real = keras.applications.MobileNetV2(weights=None, **{**SMALL, "classes": 11})
    real.save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(SurgeryError, match=r"predictions/kernel \(\[1280, 11\], here \[1280"):
        application("MobileNetV2", "w", tmp_path / "w.weights.h5", **SMALL).open(0)


def test_imagenet_without_a_network_says_which_file_to_put_where(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(SurgeryError) as error:
        application("VGG16", "imagenet", include_top=False).open(0)
    message = str(error.value)
    assert "put vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5 from https://" in message
    assert f"into {tmp_path / 'models'}" in message


def test_imagenet_takes_the_file_from_keras_s_cache_folder(keras, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    arguments = {"alpha": 0.35, "input_shape": (96, 96, 3), "include_top": False}
    real = keras.applications.MobileNetV2(weights=None, **arguments)
    name = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96_no_top.h5"
    real.save_weights(tmp_path / "w.weights.h5")
    (tmp_path / "w.weights.h5").rename(tmp_path / "models" / name)
    model = application("MobileNetV2", "imagenet", **arguments).open(0)
    np.testing.assert_array_equal(model.weights[0].tensor.numpy(), real.weights[0].numpy())


def test_a_wrong_argument_is_keras_s_own_complaint():
    with pytest.raises(SurgeryError, match=r"keras.applications.VGG16: Input size must be at lea"):
        application("VGG16", "none", include_top=False, input_shape=(10, 10, 3)).open(0)


@pytest.mark.parametrize("include_top", [True, False])
def test_classes_of_imagenet_are_known_before_keras_is_asked(include_top):
    arguments = {"classes": 3, "include_top": include_top}
    if not include_top:
        assert application("VGG16", "imagenet", **arguments)
        return
    with pytest.raises(ValueError, match="classes: 3, but weights: imagenet"):
        application("VGG16", "imagenet", **arguments)


def test_the_second_run_imports_no_tensorflow(tmp_path):
    import subprocess
    import sys

    (tmp_path / "r.yaml").write_text(
        "surgery: 1\nload: {application: MobileNet, alpha: 0.25, include_top: false,\n"
        "  input_shape: [32, 32, 3], weights: none}\nexport: [{npy: out}]\n"
    )
    code = (
        "import sys; from surgery.cli.main import cli\n"
        "cli.main(['run', '-q', 'r.yaml'], standalone_mode=False)\n"
        "print('tensorflow' in sys.modules)"
    )
    for expected in ("True", "False"):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == expected
        assert done.stderr == ""


def test_a_model_without_memory_leaves_nothing_behind(keras):
    """Its variables are not given values when Keras leaves the next scope of its own."""
    config = {
        "module": "keras", "class_name": "Sequential", "registered_name": None,
        "config": {"name": "large", "layers": [
            {"module": "keras.layers", "class_name": "InputLayer", "registered_name": None,
             "config": {"batch_shape": [None, 1 << 18], "name": "in"}},
            {"module": "keras.layers", "class_name": "Dense", "registered_name": None,
             "config": {"name": "d", "units": 1 << 18}},
        ]},
    }  # fmt: skip
    with symbolic_model(config) as model:
        assert model.weights[0].shape == (1 << 18, 1 << 18)
    layer = keras.layers.Dense(2)
    keras.layers.TimeDistributed(layer).compute_output_shape((None, 3, 4))
    with keras.StatelessScope():
        pass  # on leaving it, Keras would ask for 256 GB
