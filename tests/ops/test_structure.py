"""Ops over channels, places, names and other models."""

import time

import ml_dtypes
import numpy as np
import pytest

import surgery
from surgery.errors import RecipeError, SelectorError
from surgery.ops import permute
from surgery.weights import channels
from surgery.weights.model import Model
from surgery.weights.tensor import constant
from surgery.weights.weight import Weight
from tests.conftest import dense_layers, dense_model, values


def model(*arrays):
    return Model(tuple(Weight(f"w{i}/kernel", constant(a)) for i, a in enumerate(arrays)))


def only(changed):
    return changed.weights[0].tensor.numpy()


RNG = np.random.default_rng(0)
KERNEL = RNG.standard_normal((8, 5)).astype(np.float32)
IMAGE = RNG.standard_normal((3, 3, 4, 6)).astype(np.float32)


@pytest.mark.parametrize("array", [KERNEL, IMAGE])
@pytest.mark.parametrize(
    ("norm", "of"),
    [
        ("l1", lambda x, axis: np.abs(x).sum(axis)),
        ("l2", lambda x, axis: np.sqrt((x.astype(float) ** 2).sum(axis))),
        ("max", lambda x, axis: np.abs(x).max(axis)),
    ],
)
def test_normalize(array, norm, of):
    axes = tuple(range(array.ndim - 1))
    found = only(surgery.normalize(model(array), "**", norm=norm))
    np.testing.assert_allclose(found, array / of(array, None), rtol=1e-6)
    found = only(surgery.normalize(model(array), "**", norm=norm, per="output_channel", to=3))
    np.testing.assert_allclose(found, 3 * array / of(array, axes), rtol=1e-6)
    assert not only(surgery.normalize(model(array * 0), "**", norm=norm)).any()


def test_channels_of_transposed_and_depthwise_kernels(keras_free_model):
    found = {w.address: channels.output_channels(keras_free_model, w)
             for w in keras_free_model.weights}  # fmt: skip
    assert found["up/kernel"] == channels.Channels(5, 4)
    assert found["deep/kernel"] == channels.Channels(8)
    assert found["up/bias"] == channels.Channels(5)


@pytest.fixture
def keras_free_model():
    from surgery.architecture import Architecture

    layers = [
        {"class_name": "Conv2DTranspose", "config": {"name": "up"}},
        {"class_name": "DepthwiseConv2D", "config": {"name": "deep"}},
    ]
    config = {"class_name": "Sequential", "config": {"name": "m", "layers": layers}}
    arrays = {"up/kernel": (3, 3, 5, 4), "up/bias": (5,), "deep/kernel": (3, 3, 4, 2)}
    weights = [Weight(name, constant(np.ones(shape))) for name, shape in arrays.items()]
    return Model(tuple(weights), Architecture(config))


def normed(array, counted, norm):
    found = channels.norms([constant(array)], [counted], norm)
    return np.ldexp(found.values, found.exponents)


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_norms_do_not_depend_on_where_chunks_end(norm, monkeypatch):
    array = RNG.standard_normal((7, 3, 5))
    for counted in (channels.Channels(5), channels.Channels(3, 5), channels.Channels(1)):
        expected = normed(array, counted, norm)
        for size in (1, 2, 4, 7, 15, 16, 40):
            ranges = [(i, min(i + size, 105)) for i in range(0, 105, size)]
            monkeypatch.setattr(channels, "chunk_ranges", lambda _, ranges=ranges: iter(ranges))
            np.testing.assert_allclose(normed(array, counted, norm), expected)
        monkeypatch.undo()


ZEROS = [
    ({"below": 2}, [1, -2, 3, -0.5], [0, -2, 3, 0]),
    ({"above": 2}, [1, -2, 3, -4], [1, -2, 0, 0]),
    ({"below": 1, "above": 2}, [0.5, 1, -2, 3], [0, 1, -2, 0]),
    ({"keep": "50%"}, [4, -1, 3, -2], [4, 0, 3, 0]),
    ({"keep": "20%"}, list(range(1, 12)), [0] * 9 + [10, 11]),
    ({"keep": "100%"}, [1, 2], [1, 2]),
    ({"keep": 0}, [1, 2], [0, 0]),
]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
@pytest.mark.parametrize(("keys", "before", "after"), ZEROS)
def test_zero_by(keys, before, after, dtype):
    found = only(surgery.zero(model(np.array(before, dtype)), "**", **keys))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found.astype(float), after)


def test_zero_two_of_four_along_the_input():
    found = only(surgery.zero(model(KERNEL), "**", n_of_m="2:4"))
    for column in range(5):
        for group in range(2):
            part = KERNEL[group * 4 : group * 4 + 4, column]
            kept = np.sort(np.argsort(np.abs(part))[2:])
            expected = np.where(np.isin(np.arange(4), kept), part, 0)
            np.testing.assert_array_equal(found[group * 4 : group * 4 + 4, column], expected)
    ties = only(surgery.zero(model(np.ones((4, 1), np.float32)), "**", n_of_m="2:4"))
    assert ties.ravel().tolist() == [0, 0, 1, 1]
    with pytest.raises(SelectorError, match=r"its inputs .* are not divisible by 3"):
        surgery.zero(model(KERNEL), "**", n_of_m="1:3")


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_zero_whole_channels(norm):
    found = only(surgery.zero(model(IMAGE), "**", channels="50%", norm=norm))
    size = np.abs(IMAGE).sum((0, 1, 2)) if norm == "l1" else (IMAGE**2).sum((0, 1, 2))
    gone = np.argsort(size)[:3]
    expected = IMAGE.copy()
    expected[..., gone] = 0
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"lowest": "1%", "keep": "1%"}, "lowest and keep do not go together"),
        ({"n_of_m": "4:2"}, "4:2 is not n:m with n below m"),
        ({"n_of_m": "half"}, "n_of_m"),
        ({"below": -1}, "below"),
    ],
)
def test_zero_refuses(keys, message):
    with pytest.raises(RecipeError, match=message):
        surgery.zero(model(KERNEL), "**", **keys)


def test_quantize_to_bits():
    found = only(surgery.quantize_values(model(KERNEL), "**", bits=4))
    step = np.abs(KERNEL).max() / 7
    np.testing.assert_allclose(found, np.rint(KERNEL / step) * step, rtol=1e-6)
    assert len(np.unique(found)) <= 15
    found = only(surgery.quantize_values(model(KERNEL), "**", bits=2, per="output_channel"))
    assert all(len(np.unique(np.abs(column[column != 0]))) <= 1 for column in found.T)


def test_quantize_to_a_codebook():
    centres = np.array([-3.0, -1, 0.5, 2], np.float32)
    exact = RNG.choice(centres, (50, 40))
    noisy = (exact + RNG.normal(0, 0.01, exact.shape)).astype(np.float32)
    found = only(surgery.quantize_values(model(noisy), "**", values=4))
    assert len(np.unique(found)) == 4
    np.testing.assert_allclose(found, exact, atol=0.01)
    assert np.array_equal(only(surgery.quantize_values(model(exact), "**", values=16)), exact)
    odd = np.array([1, np.nan, np.inf, 1, 5], np.float32)
    found = only(surgery.quantize_values(model(odd), "**", values=2))
    np.testing.assert_array_equal(found, odd)
    assert len(np.unique(only(surgery.quantize_values(model(KERNEL), "**", values=3)))) == 3


@pytest.mark.parametrize("chunk", [1, 3, 8, 1000])
@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, 3])
def test_permute(axis, small, chunk, monkeypatch):
    monkeypatch.setattr(permute, "CHUNK", 1 << 20 if small else 0)
    order = RNG.permutation(IMAGE.shape[axis]).tolist()
    changed = surgery.permute(model(IMAGE), "**", axis=axis, order=order)
    tensor = changed.weights[0].tensor
    parts = [tensor.read(i, min(i + chunk, IMAGE.size)) for i in range(0, IMAGE.size, chunk)]
    found = np.concatenate(parts).reshape(IMAGE.shape)
    np.testing.assert_array_equal(found, np.take(IMAGE, order, axis))


@pytest.mark.parametrize("chunk", [1, 5, 8, 1000])
@pytest.mark.parametrize("axes", [None, (0, 1, 2, 3), (3, 2, 0, 1), (1, 0, 3, 2), (2, 3, 1, 0)])
def test_transpose(axes, chunk):
    changed = surgery.transpose(model(IMAGE), "**", axes=axes)
    tensor, expected = changed.weights[0].tensor, IMAGE.transpose(axes)
    assert tensor.shape == expected.shape
    parts = [tensor.read(i, min(i + chunk, IMAGE.size)) for i in range(0, IMAGE.size, chunk)]
    np.testing.assert_array_equal(np.concatenate(parts), expected.ravel())


@pytest.mark.parametrize("to", ["float16", "bfloat16", "float32", "float64"])
def test_cast_rounds_to_even(to):
    found = only(surgery.cast(model(KERNEL), "**", to=to))
    dtype = ml_dtypes.bfloat16 if to == "bfloat16" else np.dtype(to)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, KERNEL.astype(dtype))


def test_average(tmp_path):
    paths = []
    for number in range(3):
        loaded = surgery.open(dense_model(tmp_path, f"m{number}.keras"))
        paths.append(str(tmp_path / f"e{number}.keras"))
        surgery.save(surgery.scale(loaded, "**", by=number + 1), keras=paths[-1])
    base = values(surgery.open(paths[0]))
    for keys, factor in (
        ({}, 2),
        ({"weights": [1, 1, 2]}, 9 / 4),
        ({"weights": [0, 0, 5]}, 3),
        ({"decay": 0.5}, 0.25 * 1 + 0.25 * 2 + 0.5 * 3),
    ):
        found = values(surgery.average(surgery.open(paths[0]), "**", from_=paths[1:], **keys))
        for name, value in base.items():
            np.testing.assert_allclose(found[name], value * factor, rtol=1e-6)
    with pytest.raises(RecipeError, match="weights has 2 numbers for 3 models"):
        surgery.average(surgery.open(paths[0]), "**", from_=paths[1:], weights=[1, 2])


@pytest.fixture
def donor(tmp_path):
    """As the small model, but other names and one other shape."""
    from tests.conftest import dense_layers

    surgery.save(surgery.scale(dense_layers(["x_a", "b", "more"], [4, 3, 5, 2]), "**", by=9),
                 keras=tmp_path / "donor.keras")  # fmt: skip
    return str(tmp_path / "donor.keras")


def renumbered(first):
    """Two Dense layers as Keras names those that it makes from a number on."""
    from tests.conftest import dense_layers

    return dense_layers([f"dense_{first}" if first else "dense", f"dense_{first + 1}"], [4, 3, 3])


@pytest.mark.parametrize(("ours", "theirs"), [(0, 2), (2, 0), (1, 2), (2, 1)])
def test_copy_between_automatic_names(ours, theirs, tmp_path):
    surgery.save(surgery.scale(renumbered(theirs), "**", by=9), keras=tmp_path / "donor.keras")
    model, donor = renumbered(ours), surgery.open(tmp_path / "donor.keras")
    copied = surgery.copy(model, "**", from_=str(tmp_path / "donor.keras"))
    for weight, given in zip(copied.weights, donor.weights, strict=True):
        np.testing.assert_array_equal(weight.tensor.numpy(), given.tensor.numpy())


@pytest.mark.parametrize(
    ("layers", "sizes"), [(["dense_2", "other"], [4, 3, 3]), (["dense_2", "dense_3"], [4, 3, 5])]
)
def test_no_copy_between_models_that_differ_in_more(layers, sizes, tmp_path):
    from tests.conftest import dense_layers

    surgery.save(dense_layers(layers, sizes), keras=tmp_path / "donor.keras")
    with pytest.raises(SelectorError, match="not in the donor: dense/kernel, dense/bias"):
        surgery.copy(renumbered(0), "**", from_=str(tmp_path / "donor.keras"))


def test_copy(small, donor):
    ours, theirs = surgery.open(small), values(surgery.open(donor))
    found = values(surgery.copy(ours, "a", from_=donor, map={"x_*/**": "*/**"}))
    np.testing.assert_array_equal(found["a/kernel"], theirs["x_a/kernel"])
    np.testing.assert_array_equal(found["b/kernel"], values(ours)["b/kernel"])
    with pytest.raises(SelectorError) as error:
        surgery.copy(ours, "**", from_=donor)
    assert str(error.value) == (
        "not in the donor: a/kernel, a/bias; of another shape there: b/kernel ([3, 5], here "
        "[3, 2]), b/bias ([5], here [2]); give map, narrow select, or say mismatch: skip"
    )
    keys = {"from_": donor, "map": {"x_*/**": "*/**"}}
    assert not surgery.copy(ours, "**", mismatch="skip", **keys).notes
    (note,) = surgery.copy(ours, "**", mismatch="report", **keys).notes
    assert (
        note == f"copy: 2 weights from {donor}; left over: b/kernel, b/bias, more/kernel, more/bias"
    )
    keys["map"] = {**keys["map"], "b/kernel": "b/kernel"}
    (note,) = surgery.copy(ours, "**", mismatch="report", **keys).notes
    assert note == (
        f"copy: 2 weights from {donor}; of another shape there: b/kernel ([3, 5], here [3, 2]); "
        "left over: b/kernel, b/bias, more/kernel, more/bias"
    )
    with pytest.raises(SelectorError, match="no selected weight is in"):
        surgery.copy(ours, "a", from_=donor, mismatch="skip")
    with pytest.raises(SelectorError, match=r"'a' has 0 \* and '\*' has 1; each takes"):
        surgery.copy(ours, "a", from_=donor, map={"a": "*"})
    with pytest.raises(SelectorError, match="one name"):
        surgery.copy(ours, "a", from_=donor, map={"x_a/kernel": "a/bias", "b/kernel": "a/bias"})


def test_donors_are_inputs(small, donor, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = {
        "surgery": 1,
        "load": str(small),
        "steps": [{"copy": {"from": donor, "select": "a", "map": {"x_*/**": "*/**"}}}],
        "export": [{"keras": donor}],
    }
    with pytest.raises(RecipeError, match="is an input of this recipe"):
        surgery.run(recipe)
    recipe["export"] = [{"npy": "out"}]
    result = surgery.run(recipe)
    import json

    facts = json.loads(result.manifest.read_text())
    assert [given["path"] for given in facts["inputs"]] == [small.name, "donor.keras"]
    sums = {w["address"]: w["sha256"] for w in facts["inputs"][1]["weights"]}
    assert sums["x_a/kernel"] == facts["outputs"][0]["weights"][0]["sha256"]
    assert sums["more/kernel"] is None  # not read


def test_rename(small):
    ours = surgery.open(small)
    renamed = surgery.rename(ours, "a", to="first")
    assert [w.address for w in renamed.weights] == [
        "first/kernel", "first/bias", "b/kernel", "b/bias",
    ]  # fmt: skip
    assert [layer.name for layer in renamed.architecture.layers][-2:] == ["first", "b"]
    both = surgery.rename(ours, "*", to="new_*")
    assert [w.layer for w in both.weights[::2]] == ["new_a", "new_b"]
    for pattern, to, message in (
        ("a", "b", "two layers would be called b"),
        ("*", "same", "two layers would be called same"),
        ("c", "d", "c is not a layer of the model; the nearest are"),
        ("a", "with space", "'with space' is not a name that Keras and TensorFlow accept"),
        ("a", "x/y", "'x/y' is not a name"),
        ("a", "_x", "'_x' is not a name"),
        ("a", "*", "more \\* than"),
    ):
        with pytest.raises(SelectorError, match=message):
            surgery.rename(ours, pattern, to=to)


def test_rename_the_model(small, tmp_path):
    """Not its weights' addresses, which leave its name out."""
    renamed = surgery.rename(surgery.open(small), "small", to="large")
    for name in ("keras", "h5"):
        surgery.save(renamed, **{name: tmp_path / f"m.{name}"})
        again = surgery.open(tmp_path / f"m.{name}")
        assert again.name == "large"
        assert [w.address for w in again.weights] == ["a/kernel", "a/bias", "b/kernel", "b/bias"]
    with pytest.raises(SelectorError, match="nearest are large"):
        surgery.rename(renamed, "larg", to="x")


def test_rename_where_names_have_a_slash(tmp_path):
    """As in models of Keras 2; part of the way may be another layer's name."""
    surgery.save(dense_layers(["c/a", "c/c", "c"], [4, 3, 3, 2]), h5=tmp_path / "m.h5")
    before = surgery.open(tmp_path / "m.h5")
    for pattern, to, after in (
        ("c/a", "c_a", ["c_a", "c/c", "c"]),
        ("c/*", "c_*", ["c_a", "c_c", "c"]),
        ("c", "d", ["c/a", "c/c", "d"]),
    ):
        path = tmp_path / f"{after[0]}-{after[2]}.h5".replace("/", "-")
        surgery.save(surgery.rename(before, pattern, to=to), h5=path)
        again = surgery.open(path)
        assert [w.layer for w in again.weights[::2]] == after
        for old, new in zip(before.weights, again.weights, strict=True):
            np.testing.assert_array_equal(new.tensor.numpy(), old.tensor.numpy())


def test_what_is_not_finite_or_very_small_or_large_is_left_in_peace():
    odd = np.linspace(-0.4, 0.4, 20, dtype=np.float32).reshape(4, 5)
    odd[0, 0], odd[1, 1] = np.nan, np.inf
    plain = np.where(np.isfinite(odd), odd, 0)
    ordinary = np.isfinite(odd)
    for op, keys in (
        ("quantize_values", {"bits": 4}),
        ("normalize", {}),
        ("normalize", {"per": "output_channel", "norm": "max"}),
    ):
        found = only(getattr(surgery, op)(model(odd), "**", **keys))
        expected = only(getattr(surgery, op)(model(plain), "**", **keys))
        np.testing.assert_array_equal(found[ordinary], expected[ordinary])
        np.testing.assert_array_equal(found[~ordinary], odd[~ordinary])
    tiny = np.array([[4e-42, -8e-42]], np.float32)
    np.testing.assert_allclose(
        only(surgery.normalize(model(tiny), "**", norm="max")), [[0.5, -1]], rtol=0.01
    )


def test_two_transposes_are_not_quadratic():
    large = RNG.standard_normal((1025, 1030)).astype(np.float32)
    changed = surgery.zero(surgery.permute(model(large), "**", order=list(range(1030))[::-1]),
                           "**", lowest="40%")  # fmt: skip
    expected = only(changed)
    twice = surgery.transpose(surgery.transpose(changed, "**"), "**")
    started = time.monotonic()
    assert np.array_equal(only(twice), expected)
    assert time.monotonic() - started < 5


def test_what_no_layer_fits_stays_refused_behind_a_step_that_changes_layers(tmp_path):
    """Such a step clears neither weights of other shapes, nor ones that were taken away."""
    model = dense_layers(["a", "b"], [4, 3, 2])
    for step in (
        lambda m: surgery.reshape(m, "a/kernel", to=[2, 6]),
        lambda m: surgery.split(m, "a/kernel", into=["a/k1", "a/k2"], axis=0),
    ):
        spoiled = surgery.prefix(step(model), with_="t_")
        with pytest.raises(surgery.SurgeryError, match="t_a/kernel"):
            surgery.save(spoiled, keras=tmp_path / "x.keras")
