"""Ops after which there are other weights than before, against NumPy on files of every kind."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import surgery
from surgery.errors import FormatError, RecipeError, SelectorError
from surgery.weights.model import Model
from surgery.weights.tensor import constant
from surgery.weights.weight import Weight
from tests.ops.sources import ARRAYS, EVERY, WEIGHTS_ONLY, check, opened, source


def without(*names):
    return {name: array for name, array in ARRAYS.items() if name not in names}


A, B, BIAS = ARRAYS["a/kernel"], ARRAYS["b/kernel"], ARRAYS["a/bias"]
TABLE = {
    "delete": ("delete", {"select": ["a", "b/bias"]}, without("a/kernel", "a/bias", "b/bias")),
    "keep": ("keep", {"select": "b"}, {k: v for k, v in ARRAYS.items() if k[0] == "b"}),
    "split": (
        "split", {"select": "a/kernel", "into": ["q", "k/w", "v"]},
        {**without("a/kernel"), **dict(zip(["q", "k/w", "v"], np.split(A, 3, -1), strict=True))},
    ),
    "split by sizes": (
        "split", {"select": "b/kernel", "into": ["b/kernel", "n/1"], "sizes": [1, 5], "axis": 0},
        {**ARRAYS, "b/kernel": B[:1], "n/1": B[1:]},
    ),
    "split many": (
        "split", {"select": "*/bias", "into": ["*/x", "*/y", "*/z"]},
        {**without("a/bias", "b/bias", "c/bias"),
         **{f"{layer}/{part}": np.split(ARRAYS[f"{layer}/bias"], 3)[number]
            for layer in "abc" for number, part in enumerate("xyz")}},
    ),
    "concat": (
        "concat", {"from": ["a/kernel", "b/kernel"], "to": "ab", "axis": 0},
        {**without("a/kernel", "b/kernel"), "ab": np.concatenate([A, B])},
    ),
    "concat to one of them": (
        "concat", {"from": ["a/bias", "c/bias"], "to": "a/bias"},
        {**without("c/bias"), "a/bias": np.concatenate([BIAS, ARRAYS["c/bias"]])},
    ),
    "stack": (
        "stack", {"from": ["a/bias", "b/bias"], "to": "s", "axis": -1},
        {**without("a/bias", "b/bias"), "s": np.stack([BIAS, ARRAYS["b/bias"]], -1)},
    ),
    "reshape": (
        "reshape", {"select": "a/kernel", "to": [2, -1, 3]},
        {**ARRAYS, "a/kernel": A.reshape(2, -1, 3)},
    ),
    "pad": (
        "pad", {"select": "a/kernel", "to": [5, 9]},
        {**ARRAYS, "a/kernel": np.pad(A, ((0, 1), (0, 3)))},
    ),
    "pad with a constant": (
        "pad", {"select": "a/bias", "to": [8], "with": "constant", "arguments": {"value": 2}},
        {**ARRAYS, "a/bias": np.pad(BIAS, (0, 2), constant_values=2)},
    ),
    "create": (
        "create", {"to": "new/w", "shape": [2, 3], "initializer": "ones", "dtype": "float16"},
        {**ARRAYS, "new/w": np.ones((2, 3), np.float16)},
    ),
}  # fmt: skip
ON_MODELS = ("split by sizes", "reshape", "pad", "pad with a constant", "create", "stack", "concat")


@pytest.mark.parametrize("case", TABLE)
@pytest.mark.parametrize("kind", WEIGHTS_ONLY)
def test_against_numpy(kind, case, tmp_path):
    op, keys, expected = TABLE[case]
    check(changed(op, keys, opened(kind, tmp_path)), expected, tmp_path)


@pytest.mark.parametrize("case", ON_MODELS)
def test_a_model_with_layers_passes_through_what_does_not_fit(case, tmp_path):
    op, keys, expected = TABLE[case]
    after = changed(op, keys, opened("keras", tmp_path))
    check(after, expected, tmp_path)
    for name in ("keras", "h5"):
        with pytest.raises(FormatError, match=r"variable|unlike in its layer's config"):
            surgery.save(after, **{name: tmp_path / f"out.{name}"})


def changed(op, keys, model):
    keys = {f"{k}_" if k in ("from", "with") else k: v for k, v in keys.items()}
    return getattr(surgery, op)(model, **keys)


@pytest.mark.parametrize("name", ["keras", "h5"])
def test_what_was_taken_apart_and_put_together_again_is_a_model(name, tmp_path):
    model = opened("keras", tmp_path)
    fused = surgery.concat(model, from_=["a/kernel", "b/kernel"], to="fused", axis=0)
    with pytest.raises(FormatError, match="a/kernel is a variable of its config, and concat to fu"):
        surgery.save(fused, keras=tmp_path / "out.keras")
    into = ["a/kernel", "b/kernel"]
    whole = surgery.split(fused, "fused", into=into, sizes=[4, 6], axis=0)
    assert [w.address for w in whole.weights] == [w.address for w in model.weights]
    assert [w.trainable for w in whole.weights] == [True] * 6
    surgery.save(whole, **{name: tmp_path / "whole"})
    check(surgery.open(tmp_path / "whole"), ARRAYS, tmp_path)
    other = surgery.split(fused, "fused", into=into, sizes=[6, 4], axis=0)
    with pytest.raises(FormatError, match="unlike in its layer's config"):
        surgery.save(other, **{name: tmp_path / "other"})


SLOTS = {
    "delete": {**without("a/kernel", "a/bias", "b/bias")},
    "keep": {k: v for k, v in ARRAYS.items() if k[0] == "b"},
    **{case: TABLE[case][2] for case in (
        "split", "split by sizes", "split many", "concat", "concat to one of them", "stack",
        "reshape", "pad")},
    "pad with a constant": {**ARRAYS, "a/bias": np.pad(BIAS, (0, 2))},
    "create": ARRAYS,
}  # fmt: skip
"""What the first slot in a checkpoint is, divided by two: it goes as the weight goes."""


@pytest.mark.parametrize("case", SLOTS)
def test_slots_go_with_their_weights(case, tmp_path):
    op, keys, weights = TABLE[case]
    surgery.save(changed(op, keys, opened("checkpoint", tmp_path)), checkpoint=tmp_path / "out")
    back = surgery.open(tmp_path / "out")
    assert {w.address for w in back.weights} == set(weights)
    found = {w.address: w.numpy() for w in back.states}
    expected = {"global_step": np.array(7)}
    for name, array in SLOTS[case].items():
        expected |= {f"{name}/Adam": array * 2, f"{name}/Adam_1": array * 3}
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_the_optimizer_state_of_a_checkpoint_is_deleted(tmp_path):
    model = surgery.delete(opened("checkpoint", tmp_path), {"state": "optimizer"})
    assert [state.address for state in model.states] == ["global_step"]
    check(model, ARRAYS, tmp_path)


def test_concat_drops_slots_that_not_all_parts_have(tmp_path):
    model = surgery.delete(
        opened("checkpoint", tmp_path), {"path": "a/kernel/Adam", "state": "optimizer"}
    )
    joined = surgery.concat(model, from_=["a/kernel", "b/kernel"], to="ab", axis=0)
    assert not [state.address for state in joined.states if "ab" in state.address]
    assert joined["a/bias/Adam"].numpy().tolist() == (2 * BIAS).tolist()


def test_pad_with_the_mean(tmp_path):
    rng = np.random.default_rng(0)
    array = rng.standard_normal((5, 4, 3)).astype(np.float32)
    model = Model((Weight("w", constant(array)),))
    for shape, axes in (((7, 4, 3), 0), ((5, 6, 3), 1), ((7, 4, 5), (0, 2)), ((9, 9, 9), None)):
        found = surgery.pad(model, "w", to=list(shape), with_="mean")["w"].numpy()
        mean = array.astype(np.float64).mean(axes, keepdims=True).astype(np.float32)
        expected = np.broadcast_to(mean, [n if m == 1 else m for m, n in
                                          zip(mean.shape, shape, strict=True)]).copy()  # fmt: skip
        expected[:5, :4, :3] = array
        np.testing.assert_array_equal(found, expected)


def test_pad_and_create_draw_as_keras_does(tmp_path):
    model = opened("npz", tmp_path)
    made = surgery.create(model, to="g", shape=[300, 200], initializer="glorot_uniform")
    limit = np.sqrt(6 / 500)
    assert 0.99 * limit < np.abs(made["g"].numpy()).max() <= limit
    padded = surgery.pad(model, "a/kernel", to=[4, 6000], with_="RandomNormal")["a/kernel"].numpy()
    np.testing.assert_array_equal(padded[:, :6], A)
    assert abs(padded[:, 6:].std() - 0.05) < 0.001


REFUSED = [
    ("delete", {"select": "z"}, "z matches no weight"),
    ("split", {"select": "a/kernel", "into": ["b/kernel", "x"]}, "b/kernel is already a variable"),
    ("split", {"select": "a/kernel", "into": ["x", "x"]}, "x is already a variable"),
    ("split", {"select": "a/bias", "into": ["x"] * 4}, "6 is not divisible by 4; give sizes"),
    ("split", {"select": "a/bias", "into": ["x", "y"], "sizes": [1, 2]}, "are 3 along axis -1, no"),
    ("split", {"select": "a/bias", "into": ["x", "y"], "sizes": [1]}, "1 sizes for 2 parts"),
    ("split", {"select": "a/bias", "into": ["x", "y"], "axis": 1}, "[6]: no axis 1"),
    ("split", {"select": "*/bias", "into": ["x", "y"]}, "is already a variable"),
    ("split", {"select": {"rank": 1}, "into": ["*/x", "y"]}, "takes what a * matched"),
    ("concat", {"from": ["a/kernel", "c/kernel"], "to": "x"}, "do not go together"),
    ("concat", {"from": ["a/bias", "z"], "to": "x"}, "z matches no weight"),
    ("concat", {"from": ["a/bias", "a/bias"], "to": "x"}, "made of a/bias twice"),
    ("concat", {"from": ["*/bias", "a/kernel"], "to": "x"}, "*/bias has 1 * and x has 0"),
    ("concat", {"from": ["a/bias", "b/bias"], "to": "c/bias"}, "c/bias is already a variable"),
    ("concat", {"from": ["*/bias", "re:([ab])/bias"], "to": "*/x"}, "matches a/bias and b/bias"),
    ("stack", {"from": ["a/bias", "c/bias"], "to": "x"}, "do not go together"),
    ("stack", {"from": ["a/bias", "b/bias"], "to": "x", "axis": 3}, "no axis 3"),
    ("reshape", {"select": "a/bias", "to": [4, 2]}, "which is not [4, 2]: 6 elements"),
    ("reshape", {"select": "a/bias", "to": [-1, 4]}, "which is not [-1, 4]"),
    ("reshape", {"select": "a/bias", "to": [-1, -1]}, "-1 in at most one place"),
    ("pad", {"select": "a/bias", "to": [5]}, "does not grow to [5]"),
    ("pad", {"select": "a/bias", "to": [6, 1]}, "does not grow to [6, 1]"),
    ("pad", {"select": "a/bias", "to": [7], "with": "mode"}, "the initialiser Mode is unknown"),
    ("create", {"to": "a/bias", "shape": [1]}, "a/bias is already a variable"),
    ("create", {"to": "x", "shape": [1], "initializer": "orthogonal"}, "needs two dimensions"),
    ("create", {"to": "x", "shape": [-1]}, "is no shape"),
    ("create", {"to": "x", "shape": [1], "dtype": "text"}, "'text' is no dtype"),
    ("create", {"to": "x", "shape": [1], "dtype": "object"}, "'object' is no dtype"),
]  # fmt: skip


@pytest.mark.parametrize(("op", "keys", "said"), REFUSED)
def test_what_is_refused(op, keys, said, tmp_path):
    with pytest.raises((SelectorError, RecipeError), match=re.escape(said)):
        changed(op, keys, opened("npz", tmp_path))


@pytest.mark.parametrize("op", ["delete", "keep"])
def test_layers_are_removed_and_extracted(op, tmp_path):
    with pytest.raises(SelectorError, match="remove takes layers out, extract keeps"):
        changed(op, {"select": "a"}, opened("keras", tmp_path))


@given(data=st.data())
def test_split_and_concat_are_each_other_s_inverse(data):
    shape = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    cuts = sorted(data.draw(st.lists(st.integers(0, shape[axis]), max_size=3)))
    sizes = np.diff([0, *cuts, shape[axis]]).tolist()
    array = np.arange(np.prod(shape)).reshape(shape)
    names = [f"p{i}" for i in range(len(sizes))]
    model = Model((Weight("w", constant(array)),))
    parts = surgery.split(model, "w", into=names, sizes=sizes, axis=axis)
    for name, part in zip(names, np.split(array, cuts, axis), strict=True):
        np.testing.assert_array_equal(parts[name].numpy(), part)
    whole = surgery.concat(parts, from_=names, to="w", axis=axis)
    np.testing.assert_array_equal(whole["w"].numpy(), array)


@pytest.mark.parametrize("kind", EVERY)
def test_a_run_writes_what_the_steps_make(kind, tmp_path):
    path = source(kind, tmp_path)
    steps = [
        {"split": {"select": "b/kernel", "into": ["q", "k"]}},
        {"concat": {"from": ["k", "q"], "to": "b/kernel"}},
        {"scale": {"select": "b/kernel", "by": 2}},
    ]
    target = "keras" if kind == "keras" else "npz"
    surgery.run({"surgery": 1, "load": str(path), "steps": steps,
                 "export": [{target: str(tmp_path / "out")}]})  # fmt: skip
    swapped = 2 * np.concatenate([B[:, 3:], B[:, :3]], -1)
    check(surgery.open(tmp_path / "out"), {**ARRAYS, "b/kernel": swapped}, tmp_path)


def test_several_are_put_together_where_a_target_takes_the_name_of_a_part():
    """Parts are found once, before the first of them is gone."""
    weights = [
        Weight(f"{part}_{n}/kernel", constant(np.full(2, n, np.float32)))
        for n in range(3)
        for part in ("block", "other")
    ]
    model = surgery.concat(
        Model(tuple(weights)), from_=["block_*/kernel", "other_*/kernel"], to="block_*/kernel",
        axis=0,
    )  # fmt: skip
    assert [w.address for w in model.weights] == [f"block_{n}/kernel" for n in range(3)]
    assert model["block_2/kernel"].numpy().tolist() == [2.0] * 4
