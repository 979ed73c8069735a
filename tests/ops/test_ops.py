"""Each op as a table of (before, after)."""

import ml_dtypes
import numpy as np
import pytest

import surgery
from surgery.errors import RecipeError, SelectorError
from surgery.ops.base import ops
from surgery.weights.model import Model
from surgery.weights.tensor import constant
from surgery.weights.weight import Weight

NAN, INF = np.nan, np.inf


def model(*arrays):
    return Model(tuple(Weight(f"w{i}/kernel", constant(a)) for i, a in enumerate(arrays)))


def result(changed):
    return [weight.tensor.numpy() for weight in changed.weights]


FLOATS = [
    ("scale", {"by": 2}, [1, -2, 0.5], [2, -4, 1]),
    ("scale", {"by": 0}, [1, -2, NAN], [0, 0, NAN]),
    ("scale", {"by": 1}, [INF, -INF], [INF, -INF]),
    ("shift", {"by": 0.5}, [1, -0.5, 0], [1.5, 0, 0.5]),
    ("clip", {"min": -1, "max": 1}, [-3, 0.5, 3, NAN], [-1, 0.5, 1, NAN]),
    ("clip", {"min": 0}, [-3, 5], [0, 5]),
    ("clip", {"max": 0}, [-3, 5], [-3, 0]),
    ("zero", {}, [1, 2, NAN], [0, 0, 0]),
    ("zero", {"lowest": "50%"}, [4, -1, 3, -2], [4, 0, 3, 0]),
    ("zero", {"lowest": 0.29}, list(range(1, 101)), [0] * 29 + list(range(30, 101))),
    ("zero", {"lowest": "29%"}, list(range(1, 101)), [0] * 29 + list(range(30, 101))),
    ("zero", {"lowest": "50%"}, [1, -1, 1, -1], [0, 0, 1, -1]),
    ("zero", {"lowest": "99%"}, [5], [5]),
    ("zero", {"lowest": "100%"}, [5, NAN], [0, 0]),
    ("zero", {"lowest": 0}, [5, 6], [5, 6]),
    ("zero", {"lowest": "40%"}, [0, 0, 0, 3, 0], [0, 0, 0, 3, 0]),
    ("set", {"to": 2.5}, [1, NAN], [2.5, 2.5]),
]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
@pytest.mark.parametrize(("op", "keys", "before", "after"), FLOATS)
def test_floats(op, keys, before, after, dtype):
    (found,) = result(getattr(surgery, op)(model(np.array(before, dtype)), "**", **keys))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found.astype(float), np.array(after, dtype).astype(float))


def test_half_floats_are_computed_in_float32_and_rounded_to_even():
    # 1 + 2^-8 lies between two bfloat16: to even, that is 1.
    (found,) = result(surgery.shift(model(np.ones(1, ml_dtypes.bfloat16)), "**", by=2**-8))
    assert float(found[0]) == 1.0
    (found,) = result(surgery.scale(model(np.array([60000], np.float16)), "**", by=2))
    assert np.isinf(found[0])


def test_zero_changes_no_other_bit():
    values = np.array([-0.0, 1e-45, 3, -0.0], np.float32)
    (found,) = result(surgery.zero(model(values), "**", lowest="75%"))
    np.testing.assert_array_equal(found, [0, 0, 3, 0])
    (kept,) = result(surgery.zero(model(values), "**", lowest="50%"))
    assert kept.tobytes() == values.tobytes()


def test_zero_of_each_of_many_weights_makes_one_model(monkeypatch):
    made, with_weights = [], Model.with_weights
    monkeypatch.setattr(
        Model, "with_weights", lambda self, given: made.append(self) or with_weights(self, given)
    )
    surgery.zero(model(*[np.ones(4, np.float32)] * 3), "**", lowest="50%")
    assert len(made) == 1


def test_global_scope_ranks_all_together_and_tensor_scope_each():
    a, b = np.array([1, 2, 3, 4.0]), np.array([5, 6, 7, 8.0])
    assert [x.tolist() for x in result(surgery.zero(model(a, b), "**", lowest="50%"))] == [
        [0, 0, 3, 4],
        [0, 0, 7, 8],
    ]
    changed = surgery.zero(model(a, b), "**", lowest="50%", scope="global")
    assert [x.tolist() for x in result(changed)] == [[0, 0, 0, 0], [5, 6, 7, 8]]


def test_global_scope_over_different_dtypes():
    changed = surgery.zero(
        model(np.array([3, 1], np.float16), np.array([2, 4], np.float64)),
        "**", lowest="50%", scope="global",
    )  # fmt: skip
    found = result(changed)
    assert [x.tolist() for x in found] == [[3, 0], [0, 4]]
    assert [x.dtype for x in found] == [np.float16, np.float64]


def test_global_ties_go_to_the_earlier_weight():
    ones = np.ones(4, np.float32)
    changed = surgery.zero(model(ones, ones), "**", lowest="75%", scope="global")
    assert [x.tolist() for x in result(changed)] == [[0, 0, 0, 0], [0, 0, 1, 1]]


def test_steps_see_what_earlier_steps_did():
    changed = surgery.scale(model(np.array([1, -2, 3, 4.0])), "**", by=-1)
    changed = surgery.zero(changed, "**", lowest="50%")
    changed = surgery.shift(changed, "**", by=1)
    assert result(changed)[0].tolist() == [1, 1, -2, -3]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32])
def test_integers_take_zero_and_set_only(dtype):
    whole = model(np.array([1, 2, 3, 4], dtype))
    assert result(surgery.zero(whole, "**"))[0].tolist() == [0, 0, 0, 0]
    assert result(surgery.zero(whole, "**", lowest="50%"))[0].tolist() == [0, 0, 3, 4]
    assert result(surgery.set(whole, "**", to=7))[0].tolist() == [7, 7, 7, 7]
    with pytest.raises(SelectorError, match=r"cannot hold 0\.5"):
        surgery.set(whole, "**", to=0.5)
    for op in ("scale", "shift"):
        with pytest.raises(SelectorError, match=f"and {op} computes with floats only"):
            getattr(surgery, op)(whole, "**", by=2)


def test_set_from_a_file(tmp_path):
    whole = model(np.zeros((2, 3), np.float32))
    np.save(tmp_path / "v.npy", np.arange(6.0).reshape(2, 3))
    (found,) = result(surgery.set(whole, "**", npy=str(tmp_path / "v.npy")))
    assert found.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found.dtype == np.float32
    np.save(tmp_path / "f.npy", np.asfortranarray(np.arange(6.0).reshape(2, 3)))
    (found,) = result(surgery.set(whole, "**", npy=str(tmp_path / "f.npy")))
    assert found.tolist() == [[0, 1, 2], [3, 4, 5]]
    np.save(tmp_path / "big.npy", np.arange(6, dtype=">f8").reshape(2, 3))
    (found,) = result(surgery.set(whole, "**", npy=str(tmp_path / "big.npy")))
    assert found.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3), "has the shape"),
        (np.zeros((2, 3), complex), "does not go into"),
        (np.array([[object()] * 3] * 2), "Python objects"),
        (np.array([["a"] * 3] * 2), "is not a number"),
    ],
)
def test_set_refuses_a_file_that_does_not_fit(tmp_path, array, message):
    np.save(tmp_path / "v.npy", array)
    with pytest.raises(surgery.SurgeryError, match=message):
        surgery.set(model(np.zeros((2, 3), np.float32)), "**", npy=str(tmp_path / "v.npy"))


@pytest.mark.parametrize(
    ("op", "keys", "message"),
    [
        ("clip", {}, "give min, max or both"),
        ("clip", {"min": 2, "max": 1}, "min 2 is above max 1"),
        ("set", {}, "give either to"),
        ("zero", {"lowest": "110%"}, "more than the whole"),
        ("zero", {"lowest": "ten"}, "is not a share"),
        ("scale", {"by": "x"}, "expected a number"),
        ("scale", {}, "'by' is missing"),
        ("scale", {"by": 1, "bye": 2}, "unknown key 'bye' (did you mean 'by'?)"),
    ],
)
def test_wrong_keys(op, keys, message):
    with pytest.raises(RecipeError) as error:
        getattr(surgery, op)(model(np.zeros(3)), "**", **keys)
    assert message in str(error.value)


def test_every_op_is_documented():
    for name, op in ops().items():
        assert op.__doc__, name
        assert getattr(surgery, name).__name__ == name


def test_an_op_that_does_not_exist():
    with pytest.raises(AttributeError, match="did you mean 'scale'"):
        _ = surgery.scal
