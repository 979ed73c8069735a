"""Names, order and trainable flags, for every layer class with weights, against real Keras."""

import contextlib
import functools
import inspect
import warnings

import numpy as np
import pytest

import surgery
from surgery.architecture.variables import known_classes
from surgery.errors import SelectorError
from tests.keras.layers import NAMES, QUANTIZED, single, varieties


@functools.cache
def build(keras, name, mode=None):
    """The same model for all tests; none of them changes it."""
    make, shape, calls = varieties(keras)[name]
    keras.utils.set_random_seed(0)
    model = single(keras, make(), shape, calls)
    if mode:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.quantize(mode)
    # Values by which each weight can be told from the others.
    for number, weight in enumerate(model.weights):
        value = np.arange(weight.numpy().size).reshape(weight.shape) % 50 + number * 7 % 50
        weight.assign(value.astype(weight.dtype))
    return model


def check(keras, model, path, loaded):
    ours = surgery.open(path)
    theirs = loaded.weights
    lora = [w for w in theirs if "lora" in w.name]
    theirs = [w for w in theirs if "lora" not in w.name]
    assert [w.variable for w in ours.weights] == [w.name for w in theirs]
    assert all(w.named for w in ours.weights)
    for our, their in zip(ours.weights, theirs, strict=True):
        assert our.tensor.numpy().tobytes() == their.numpy().tobytes(), our.address
    trained = {id(w) for w in loaded.trainable_weights} - {id(w) for w in lora}
    assert [bool(w.trainable) for w in ours.weights] == [id(w) in trained for w in theirs]
    # An address ends as Keras's own path of the variable does.
    for our, their in zip(ours.weights, theirs, strict=True):
        assert our.address.endswith("/".join(their.path.split("/")[-2:])), (our, their.path)
    assert len({w.address for w in ours.weights}) == len(theirs)


@pytest.mark.parametrize(("name", "mode"), [(n, None) for n in NAMES] + QUANTIZED)
def test_keras_file(name, mode, keras, tmp_path):
    model = build(keras, name, mode)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    check(keras, model, tmp_path / "m.keras", loaded)


# Keras cannot load these from the .h5 files that it writes itself: it takes the score mode
# "dot" for a function, LoRA's kernels come in another order, and so do float8's scales.
NOT_IN_H5 = {"Attention-plain", "Dense-lora"}


@pytest.mark.parametrize(
    ("name", "mode"),
    [(n, None) for n in NAMES if n not in NOT_IN_H5] + [q for q in QUANTIZED if q[1] != "float8"],
)
def test_h5_file(name, mode, keras, tmp_path):
    model = build(keras, name, mode)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(tmp_path / "m.h5")
        loaded = keras.models.load_model(tmp_path / "m.h5", compile=False)
    check(keras, model, tmp_path / "m.h5", loaded)


@pytest.mark.parametrize(
    ("name", "mode"), [(n, None) for n in NAMES if n != "Dense-lora"] + QUANTIZED
)
def test_weights_file(name, mode, keras, tmp_path):
    """Without a config: as many weights, each under one address; `*` marks what has no name."""
    model = build(keras, name, mode)
    model.save_weights(tmp_path / "m.weights.h5")
    ours = surgery.open(tmp_path / "m.weights.h5")
    stored = {w.numpy().tobytes() for w in model.weights if "lora" not in w.name}
    assert {w.tensor.numpy().tobytes() for w in ours.weights} == stored


@pytest.mark.parametrize("target", ["keras", "h5"])
@pytest.mark.parametrize("name", [n for n in NAMES if "lora" not in n])
def test_from_keras_to_h5_and_back(name, target, keras, tmp_path):
    source = "h5" if target == "keras" else "keras"
    model = build(keras, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(tmp_path / f"m.{source}")
        opened = surgery.open(tmp_path / f"m.{source}")
        surgery.save(opened, **{target: tmp_path / f"n.{target}"})
        loaded = keras.models.load_model(tmp_path / f"n.{target}")
    for ours, theirs in zip(model.weights, loaded.weights, strict=True):
        assert ours.name == theirs.name
        assert ours.numpy().tobytes() == theirs.numpy().tobytes()


def test_no_layer_class_is_missing(keras):
    """Every class of keras.layers that adds weights is known, or made of such."""
    adds = set()
    for cls in vars(keras.layers).values():
        if inspect.isclass(cls) and issubclass(cls, keras.layers.Layer):
            own = [c for c in cls.__mro__ if c.__module__.startswith("keras.src.layers")]
            own = [c for c in own if c.__name__ not in ("Layer", "RNN")]  # RNN makes states
            if any("add_weight" in inspect.getsource(c) for c in own):
                adds.add(cls.__name__)
    assert adds <= known_classes()


def test_each_layer_s_own_initialisers_are_found(keras, tmp_path):
    """Drawn anew, every weight has the deviation that a new layer of Keras's has."""
    for name in NAMES:
        make, shape, calls = varieties(keras)[name]
        if name == "Dense-lora":
            continue
        model = single(keras, make(), shape, calls)
        model.save(tmp_path / "m.keras")
        ours = surgery.open(tmp_path / "m.keras")
        for weight, theirs in zip(ours.weights, model.weights, strict=True):
            new = redrawn(ours, weight.address)
            known = weight.variable in ("kernel", "bias", "recurrent_kernel", "embeddings")
            if new is None:
                assert not known, (name, weight.address)
            elif theirs.numpy().std() == 0 or weight.variable == "bias":
                assert np.array_equal(new, theirs.numpy()), (name, weight.address)
            else:
                # The largest magnitudes of two small samples of one distribution.
                ratio = np.abs(new).max() / np.abs(theirs.numpy()).max()
                assert 0.2 < ratio < 5, (name, weight.address)


def redrawn(model, address):
    """A weight's new values; None where its layer's config says nothing of them."""
    with contextlib.suppress(SelectorError):
        return surgery.reinitialize(model, address)[address].tensor.numpy()
    return None
