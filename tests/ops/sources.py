"""The same table of weights in a file of each kind, and what ops on it are checked by."""

import numpy as np

import surgery
from surgery.formats._tensorflow.proto import put_bytes, put_integer
from surgery.testing.models import dense_layers
from surgery.weights.model import Model
from surgery.weights.tensor import constant
from surgery.weights.weight import Weight

WEIGHTS_ONLY = ("safetensors", "checkpoint", "savedmodel", "npz", "weights_h5")
EVERY = (*WEIGHTS_ONLY, "keras")

ARRAYS = {
    name: np.random.default_rng(number).standard_normal(shape).astype(np.float32)
    for number, (name, shape) in enumerate({
        "a/kernel": (4, 6), "a/bias": (6,), "b/kernel": (6, 6), "b/bias": (6,), "c/kernel": (6, 3),
        "c/bias": (3,),
    }.items())
}  # fmt: skip
"""The values of the weights, by address: three Dense layers."""


def source(kind, folder):
    """Return a file of that kind with `ARRAYS`; a checkpoint has slots and a step counter, too."""
    weights = tuple(Weight(name, constant(array)) for name, array in ARRAYS.items())
    path = folder / kind
    if kind in ("checkpoint", "savedmodel"):
        surgery.save(Model(weights, states=_states() if kind == "checkpoint" else ()),
                     checkpoint=path)  # fmt: skip
        if kind == "savedmodel":
            _as_saved_model(path)
        return path
    if kind in ("keras", "weights_h5"):
        model = dense_layers(["a", "b", "c"], [4, 6, 6, 3])
        model = model.with_weights(
            w.with_tensor(constant(ARRAYS[w.address])) for w in model.weights
        )
        surgery.save(model, **{kind: path})
        return path
    surgery.save(Model(weights), **{kind: path})
    return path


def _states():
    slots = [Weight(f"{name}/{slot}", constant(array * factor), state="optimizer")
             for name, array in ARRAYS.items() for slot, factor in (("Adam", 2), ("Adam_1", 3))
            ]  # fmt: skip
    return (*slots, Weight("global_step", constant(np.array(7)), state="other"))


def _as_saved_model(path):
    (path / "variables").mkdir()
    for name in ("index", "data-00000-of-00001"):
        (path / f"ckpt.{name}").rename(path / f"variables/variables.{name}")
    (path / "checkpoint").unlink()
    tags = put_bytes(2, put_bytes(1, put_bytes(4, b"serve")))
    (path / "saved_model.pb").write_bytes(put_integer(1, 1) + tags)


def opened(kind, folder):
    """Open a new file of that kind."""
    return surgery.open(source(kind, folder))


def through_a_file(model, folder):
    """Return the arrays of a model by address, as written and read again; numpy reads them."""
    path = folder / "through.npz"
    surgery.save(model, npz=path)
    with np.load(path) as found:
        assert set(found) == {weight.address for weight in model.weights}
        return {name: found[name] for name in found}


def check(model, expected, folder):
    """Check that a model has these arrays and no others, bit for bit, after it is written."""
    found = through_a_file(model, folder)
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, err_msg=name)
