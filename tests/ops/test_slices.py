"""Ops on a slice of each weight, against NumPy on files of every kind."""

import sys

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import surgery
from surgery.errors import RecipeError, SelectorError
from surgery.recipe.parts import build_op
from surgery.testing.models import with_slots
from surgery.testing.ops import check_op_on
from surgery.weights.model import Model
from surgery.weights.slicing import Replaced, Slice, sliced
from surgery.weights.tensor import CHUNK, constant
from surgery.weights.weight import Weight
from tests.ops.sources import ARRAYS, EVERY, check, opened

KERNEL = ARRAYS["a/kernel"]


def lowest_half(x):
    flat = x.reshape(-1).copy()
    flat[np.argsort(np.abs(flat), kind="stable")[: flat.size // 2]] = 0
    return flat.reshape(x.shape)


OPS = {
    "zero": ({}, np.zeros_like),
    "zero lowest": ({"lowest": "50%"}, lowest_half),
    "zero below": ({"below": 0.5}, lambda x: np.where(np.abs(x) < 0.5, np.float32(0), x)),
    "set": ({"to": 0.25}, lambda x: np.full_like(x, 0.25)),
    "scale": ({"by": 3.0}, lambda x: x * np.float32(3)),
    "shift": ({"by": 0.5}, lambda x: x + np.float32(0.5)),
    "clip": ({"max": 0.0}, lambda x: np.minimum(x, np.float32(0))),
}


@pytest.mark.parametrize("text", ["[:, 0:3]", "[1]", "[..., ::-2]", "[-1:0:-1, 2]"])
@pytest.mark.parametrize("case", OPS)
@pytest.mark.parametrize("kind", EVERY)
def test_against_numpy(kind, case, text, tmp_path):
    keys, golden = OPS[case]
    model = getattr(surgery, case.split()[0])(
        opened(kind, tmp_path), "a/kernel", slice=text, **keys
    )
    check(model, {**ARRAYS, "a/kernel": changed(KERNEL, text, golden)}, tmp_path)


def indices(text):
    """What NumPy is given for a slice."""
    return eval(f"np.s_{text}", {"np": np})


def changed(array, text, golden):
    array = array.copy()
    array[indices(text)] = golden(array[indices(text)])
    return array


@pytest.mark.parametrize("text", ["[:, ::-1]", "[2]", "[0:2, 1:5:2]"])
def test_set_takes_values_in_the_order_of_the_slice(text, tmp_path):
    values = np.arange(KERNEL[indices(text)].size, dtype=np.float32)
    values = values.reshape(KERNEL[indices(text)].shape)
    found = surgery.set(opened("npz", tmp_path), "a/kernel", to=values, slice=text)
    expected = KERNEL.copy()
    expected[indices(text)] = values
    np.testing.assert_array_equal(found["a/kernel"].numpy(), expected)
    with pytest.raises(SelectorError, match="but a/kernel has"):
        surgery.set(opened("npz", tmp_path), "a/kernel", to=np.zeros((9, 9)), slice=text)


@pytest.mark.parametrize("kind", EVERY)
def test_copy_takes_the_same_slice_of_the_donor(kind, tmp_path):
    weights = tuple(Weight(name, constant(-array)) for name, array in ARRAYS.items())
    surgery.save(Model(weights), npz=tmp_path / "d.npz")
    model = surgery.copy(
        opened(kind, tmp_path), "*/kernel", from_=str(tmp_path / "d.npz"), slice="[1:, ::2]"
    )
    kernels = {name: array for name, array in ARRAYS.items() if array.ndim == 2}
    expected = {name: changed(array, "[1:, ::2]", np.negative) for name, array in kernels.items()}
    check(model, {**ARRAYS, **expected}, tmp_path)


def test_noise_is_drawn_for_the_slice(tmp_path):
    model = Model((Weight("w", constant(np.zeros((500, 40), np.float32))),))
    found = surgery.noise(model, "w", std=2.0, slice="[:, :4]")["w"].numpy()
    assert np.all(found[:, 4:] == 0)
    assert abs(found[:, :4].std() - 2) < 0.1


def test_the_contract_holds_in_chunks_of_their_real_size():
    array = np.random.default_rng(0).standard_normal((8, CHUNK // 4 + 3)).astype(np.float32)
    for case, text in (("zero lowest", "[2:5, 100:-7:3]"), ("scale", "[:, 5]"), ("set", "[1:3]")):
        keys, golden = OPS[case]
        op = build_op(case.split()[0], {"select": "a/kernel", "slice": text, **keys}, 5)
        check_op_on(with_slots(array), op, lambda x, t=text, g=golden: changed(x, t, g))


@pytest.mark.parametrize("small", [16, 64])
def test_reading_by_small_chunks(small, monkeypatch):
    for module in list(sys.modules.values()):
        if module.__name__.startswith("surgery.") and hasattr(module, "CHUNK"):
            monkeypatch.setattr(module, "CHUNK", small)
    monkeypatch.setattr("surgery.weights.slicing._LONG_RUN", small)
    array = np.arange(7 * 5 * 6, dtype=np.float32).reshape(7, 5, 6)
    for text in ("[1:6:2, ::-1, 2:]", "[::-1]", "[:, 2]", "[3, :, ::3]", "[...]", "[-1, -1, -1]"):
        compare(array, text)


TEXTS = st.lists(
    st.one_of(
        st.integers(-5, 5).map(str),
        st.just("..."),
        st.tuples(
            st.one_of(st.none(), st.integers(-6, 6)), st.one_of(st.none(), st.integers(-6, 6)),
            st.sampled_from([None, 1, 2, 3, -1, -2]),
        ).map(lambda bounds: ":".join("" if b is None else str(b) for b in bounds)),
    ),
    min_size=1, max_size=4,
)  # fmt: skip


@given(shape=st.lists(st.integers(1, 6), max_size=4), items=TEXTS)
@example(shape=[2, 3], items=["...", "1"])
@example(shape=[], items=["..."])
def test_slices_are_numpy_s(shape, items):
    assume(items.count("...") < 2)
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    text = f"[{', '.join(items)}]"
    try:
        expected = array[indices(text)]
    except IndexError:
        expected = None
    if expected is None or expected.size == 0:
        with pytest.raises(ValueError, match=r"takes nothing|has more axes|has the index"):
            Slice(text).taken(array.shape)
    else:
        compare(array, text)


def compare(array, text):
    """Check that a slice is read and replaced as NumPy does, at once and in pieces."""
    axes, shape = Slice(text).taken(array.shape)
    expected = array[indices(text)]
    taken = sliced(constant(array), axes, shape)
    values = np.asarray(-1 - np.arange(expected.size, dtype=np.float32).reshape(expected.shape))
    replaced = array.copy()
    replaced[indices(text)] = values
    for tensor, whole in (
        (taken, expected),
        (Replaced(constant(array), axes, constant(values)), replaced),
    ):
        np.testing.assert_array_equal(tensor.numpy(), whole)
        for size in (1, 5):
            parts = [tensor.read(i, min(i + size, whole.size)) for i in range(0, whole.size, size)]
            np.testing.assert_array_equal(np.concatenate(parts), whole.reshape(-1))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[:, 6]", "a/kernel: [:, 6] has the index 6, and [4, 6] has only 6 there"),
        ("[:, :, 0]", "a/kernel: [:, :, 0] has more axes than [4, 6]"),
        ("[4:]", "a/kernel: [4:] takes nothing of [4, 6]"),
        (":, 0", "is not a slice; write it as in NumPy: [:, 0:10]"),
        ("[x]", "'x' is neither a whole number nor a range"),
        ("[]", "'' is neither"),
        ("[1:2:3:4]", "'1:2:3:4' is neither"),
        ("[..., ...]", "has ... twice"),
        ("[::0]", "has a step of 0"),
        ("[1.5]", "'1.5' is neither"),
        ("[" + "9" * 400 + "]", "is neither"),
        ("[__import__('os')]", "is neither"),
    ],
)
def test_slices_that_are_refused_when_planned(text, said, tmp_path):
    with pytest.raises((SelectorError, RecipeError)) as error:
        surgery.scale(opened("npz", tmp_path), "a/kernel", by=2, slice=text)
    assert said in str(error.value)


@pytest.mark.parametrize("keys", [{"channels": "50%"}, {"n_of_m": "2:4"}])
def test_what_goes_by_layers_takes_no_slice(keys, tmp_path):
    with pytest.raises(RecipeError, match="goes by whole layers; it takes no slice"):
        surgery.zero(opened("keras", tmp_path), "a/kernel", slice="[0]", **keys)


def test_a_bracket_in_a_selector_stays_a_letter():
    model = Model((Weight("w[0]", constant(np.ones(3))), Weight("w0", constant(np.ones(3)))))
    after = surgery.zero(model, "w[0]")
    assert [w.numpy().sum() for w in after.weights] == [0, 3]


def test_counts_are_of_the_slice(tmp_path):
    op = build_op("zero", {"select": "a/kernel", "slice": "[:, 0:2]", "lowest": "50%"})
    model = opened("npz", tmp_path)
    assert op.changes(op.matched(model)) == 4
    assert op.title == "zero a/kernel[:, 0:2]"
