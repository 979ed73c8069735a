"""A model in Python: opened, looked at, changed with arrays, saved."""

import numpy as np
import pytest

import surgery
from tests.conftest import dense_model


@pytest.fixture
def model(tmp_path):
    return surgery.open(dense_model(tmp_path))


def test_it_is_a_sequence_of_weights(model):
    assert len(model) == 4
    assert [weight.address for weight in model] == ["a/kernel", "a/bias", "b/kernel", "b/bias"]
    assert [layer.address for layer in model.layers] == ["a", "b"]
    assert ("a" in model, "a/kernel" in model, "c" in model) == (True, True, False)


def test_a_layer_and_a_weight_by_their_names(model):
    layer = model["a"]
    assert (layer.type, layer.trainable, len(layer)) == ("Dense", True, 2)
    assert layer["kernel"] is model["a/kernel"]
    assert list(layer) == [model["a/kernel"], model["a/bias"]]


@pytest.mark.parametrize(
    ("find", "said"),
    [
        (lambda model: model["aa"], "no layer and no weight 'aa' (did you mean 'a'?)"),
        (lambda model: model["a/kernal"], "weight 'a/kernal' (did you mean 'a/kernel'?)"),
        (lambda model: model["a"]["bais"], "'a' has no weight 'bais' (did you mean 'bias'?)"),
        (lambda model: model[0], "no layer and no weight 0"),
    ],
)
def test_a_wrong_name_is_a_key_error_with_the_nearest_one(model, find, said):
    with pytest.raises(KeyError) as error:
        find(model)
    assert said in error.value.args[0]


def test_a_weight_is_an_array(model):
    weight = model["a/kernel"]
    assert (weight.shape, weight.dtype) == ((4, 3), np.float32)
    for array in (np.asarray(weight), np.asarray(weight.tensor), np.array(weight, "float32")):
        assert (array.shape, array.dtype) == ((4, 3), np.float32)
        assert np.array_equal(array, weight.numpy())
    assert np.asarray(weight, "float64").dtype == np.float64
    assert np.mean(weight) == np.mean(weight.numpy())


def test_no_view_of_a_weight_is_given(model):
    with pytest.raises(ValueError, match="leave out copy=False"):
        model["a/kernel"].__array__(copy=False)


def test_summary_prints_the_weights(model, capsys):
    model.summary()
    assert "a/kernel  4x3    float32  yes              12" in capsys.readouterr().out


def test_reprs_are_short(model):
    assert repr(model) == "<Model 'small': 4 weights, 23 parameters>"
    assert repr(model["a"]) == "<Layer a (Dense): 2 weights>"
    assert repr(model["a/kernel"]) == "<Weight a/kernel (4, 3) float32>"
    assert repr(model.architecture) == "<Architecture Sequential: 2 layers>"


def test_set_takes_an_array(model, tmp_path):
    given = np.arange(12, dtype="float64").reshape(4, 3)
    changed = surgery.set(model, "a/kernel", to=given)
    expected = given.astype("float32")
    given[:] = -1  # the model has a copy
    changed.save(tmp_path / "changed.keras")
    found = surgery.open(tmp_path / "changed.keras")["a/kernel"].numpy()
    assert (found.dtype, found.tolist()) == (np.float32, expected.tolist())
    other = surgery.set(model, "a/kernel", to=changed["a/kernel"])
    assert other["a/kernel"].numpy().tolist() == expected.tolist()
    assert surgery.set(model, "a/bias", to=[1, 2, 3])["a/bias"].numpy().tolist() == [1, 2, 3]
    assert surgery.set(model, "a/bias", to=np.float32(2))["a/bias"].numpy().tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros(3), r"the array has the shape \[3\], but a/kernel has \[4, 3\]"),
        (np.zeros((4, 3), "complex64"), "the array holds complex64, which does not go into"),
        ([["x"] * 3] * 4, "the array holds str"),
    ],
)
def test_set_refuses_an_array_that_does_not_fit(model, array, said):
    with pytest.raises(surgery.SelectorError, match=said):
        surgery.set(model, "a/kernel", to=array)


def test_a_donor_may_be_a_model(model, tmp_path):
    doubled = surgery.scale(model, "**", by=2)
    copied = surgery.copy(model, "a", from_=doubled)
    assert surgery.diff(copied, doubled, select="a/*").is_none
    assert surgery.diff(copied, model, select="b/*").is_none
    averaged = surgery.average(model, "a/kernel", from_=[doubled, tmp_path / "model.keras"])
    expected = model["a/kernel"].numpy() * 4 / 3
    assert averaged["a/kernel"].numpy() == pytest.approx(expected, rel=1e-6)
    surgery.save(doubled, tmp_path / "w.npz")
    named = surgery.open({"path": tmp_path / "w.npz", "architecture": model})
    assert surgery.diff(named, doubled).is_none
    with pytest.raises(surgery.UsageError, match="cannot be part of a recipe"):
        surgery.run({"surgery": 1, "load": model})


def test_save_by_the_name_and_by_the_format(model, tmp_path):
    surgery.save(model, tmp_path / "x.keras", safetensors={"path": tmp_path / "s.safetensors"})
    model.save(tmp_path / "y.h5", npz=tmp_path / "y.npz")
    for name in ("x.keras", "s.safetensors", "y.h5", "y.npz"):
        assert surgery.diff(model, tmp_path / name, select="**/kernel").is_none


@pytest.mark.parametrize(
    ("path", "targets", "said"),
    [
        (None, {}, "needs a target"),
        ("x.what", {}, r"x.what has no suffix of a known format; give it by name"),
        ("x.keras", {"h5": "x.keras"}, "collides with another target"),
        ("x", {"npz": "x/y.npz"}, "x has no suffix of a known format"),
        (None, {"npy": "x", "npz": "x/y.npz"}, "collides with another target"),
        (None, {"kears": "x.keras"}, r"no format 'kears' \(did you mean 'keras'\?\)"),
        (None, {"safetensors": {"path": "x", "shrd": 1}}, r"unknown key 'shrd' \(did you mean"),
        ("model.keras", {}, "is an input of this recipe"),
    ],
)
def test_what_save_refuses(model, path, targets, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(surgery.SurgeryError, match=said):
        surgery.save(model, path, **targets)
    assert [file.name for file in tmp_path.iterdir()] == ["model.keras"]


def test_open_takes_what_load_takes(tmp_path):
    path = dense_model(tmp_path)
    part = surgery.open({"path": path, "select": "a/*"})
    assert [weight.address for weight in part] == ["a/kernel", "a/bias"]
    with pytest.raises(surgery.RecipeError, match=r"unknown key 'pth' \(did you mean 'path'\?\)"):
        surgery.open({"pth": "m.keras"})
    with pytest.raises(surgery.UsageError, match=r"or a keras.Model, and this is a builtins.int"):
        surgery.open(3)


def test_inspect_is_plain_data(model):
    facts = surgery.inspect(model, select="a/bias", stats=True, hashes=True)
    weight = facts["weights"][0]
    assert (weight["address"], weight["shape"], len(weight["sha256"])) == ("a/bias", [3], 64)
    assert weight["stats"]["min"] == model["a/bias"].numpy().min()
    with pytest.raises(surgery.SelectorError, match="nearest"):
        surgery.inspect(model, select="a/bais")


def test_diff_tells_how_models_differ(model):
    assert surgery.diff(model, model).is_none
    found = surgery.diff(model, surgery.zero(model, "b/bias"))
    assert [*found.changed] == ["b/bias"]
    assert repr(found) == "<Difference: 3 weights the same, 1 changed>"
    assert str(found).endswith("3 weights the same, 1 changed")


def test_an_op_takes_one_selector(model):
    with pytest.raises(surgery.UsageError, match="takes one selector, which may be a list"):
        surgery.scale(model, "a", "b", by=2)
    by_keyword = surgery.scale(model, select="a/bias", by=2)
    assert np.array_equal(by_keyword["a/bias"].numpy(), 2 * model["a/bias"].numpy())
    with pytest.raises(AttributeError, match=r"no attribute 'opne' \(did you mean 'open'\?\)"):
        surgery.opne  # noqa: B018
