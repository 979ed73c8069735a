"""What numbers do at the ends of their dtypes: right, or refused."""

import ml_dtypes
import numpy as np
import pytest

import surgery
from surgery.errors import ExpectationError, RecipeError, SelectorError, SurgeryError
from surgery.ops.average import Average
from surgery.weights.model import Model
from surgery.weights.tensor import constant
from surgery.weights.weight import Weight

BFLOAT16 = ml_dtypes.bfloat16
F16, F32, F64 = np.float16, np.float32, np.float64
INF, NAN = np.inf, np.nan
BIGGEST, SMALLEST = np.finfo(F64).max, 5e-324
LOWEST64 = np.iinfo(np.int64).min


def model(array, address="w/kernel"):
    return Model((Weight(address, constant(array)),))


def only(changed):
    return changed.weights[0].tensor.numpy()


CHANGES = [
    # Factors that their own dtype does not hold, and products that it does.
    ("scale", {"by": 1e39}, F32, [1e-10, 0, -2e-5], [1e29, 0, -2e34]),
    ("scale", {"by": 1e-46}, F32, [1e38, 0], [1e-8, 0]),
    ("scale", {"by": 1e39}, BFLOAT16, [1e-10], [1e29]),
    ("scale", {"by": 1e40}, F32, [1.0], [INF]),
    ("shift", {"by": 4e38}, F32, [-3e38], [1e38]),
    # Limits are what the dtype holds.
    ("clip", {"max": 1e39}, F32, [INF, -INF, NAN, 1], [np.finfo(F32).max, -INF, NAN, 1]),
    ("clip", {"min": -1e39, "max": 1e39}, F32, [-INF, 2], [np.finfo(F32).min, 2]),
    ("clip", {"max": 70000}, F16, [INF, 1], [65504, 1]),
    ("clip", {"min": -1}, F32, [-INF, INF], [-1, INF]),
    ("zero", {"above": 1e39}, F32, [INF, 3e38], [0, 3e38]),
    ("zero", {"below": 1e39}, F32, [-INF, 3e38], [-INF, 0]),
    # Sums that are beyond what the dtype holds, though the result is not.
    ("normalize", {}, F64, [3e200, 4e200], [0.6, 0.8]),
    ("normalize", {}, F64, [3e-200, -4e-200, 0], [0.6, -0.8, 0]),
    ("normalize", {}, F64, [BIGGEST] * 4, [0.5] * 4),
    ("normalize", {"norm": "l1"}, F64, [BIGGEST, -BIGGEST], [0.5, -0.5]),
    ("normalize", {"norm": "max"}, F64, [SMALLEST, -4 * SMALLEST], [0.25, -1]),
    ("normalize", {"norm": "max"}, F32, [1e-45, 0], [1, 0]),
    # Few values at the ends.
    ("quantize_values", {"bits": 2}, F64, [SMALLEST, -SMALLEST, 0], [SMALLEST, -SMALLEST, 0]),
    (
        "quantize_values",
        {"bits": 8},
        F64,
        [254 * SMALLEST, 103 * SMALLEST],
        [254 * SMALLEST, 104 * SMALLEST],
    ),
    ("quantize_values", {"bits": 8}, F64, [BIGGEST, -BIGGEST, INF], [BIGGEST, -BIGGEST, INF]),
    ("quantize_values", {"values": 2}, F64, [BIGGEST, -BIGGEST], [BIGGEST, -BIGGEST]),
    ("quantize_values", {"values": 2}, F64, [SMALLEST, -SMALLEST], [SMALLEST, -SMALLEST]),
    ("quantize_values", {"values": 2}, F32, [3e38, -3e38, NAN], [3e38, -3e38, NAN]),
    # Zeros are a value of their own, which no other element becomes.
    ("quantize_values", {"values": 3}, F32, [0, 0.1, 0.1, 2, -0.0], [0, 0.1, 0.1, 2, 0]),
    ("quantize_values", {"values": 2}, F32, [0, 1, 3, 0, 0, 0], [0, 2, 2, 0, 0, 0]),
    ("quantize_values", {"values": 2}, F32, [0, 0], [0, 0]),
    # Complex numbers are ranked by their magnitude.
    ("zero", {"lowest": "50%"}, np.complex64, [3 + 4j, 1, -2j, 0.1], [3 + 4j, 0, -2j, 0]),
    ("zero", {"keep": "25%"}, np.complex128, [3, 4j, 3 + 3j, NAN], [0, 0, 0, NAN]),
    # Whole numbers exactly.
    ("zero", {"keep": "50%"}, np.int64, [LOWEST64, -(2**63) + 1], [LOWEST64, 0]),
    ("zero", {"lowest": "50%"}, np.int64, [2**53 + 1, 2**53], [2**53 + 1, 0]),
    ("zero", {"lowest": "50%"}, np.uint64, [2**64 - 1, 2**64 - 2], [2**64 - 1, 0]),
    ("zero", {"lowest": "50%"}, np.int8, [-128, 127], [-128, 0]),
    ("zero", {"lowest": "50%"}, np.bool_, [True, False, True, True], [False, False, True, True]),
    ("cast", {"to": "float16"}, np.int8, [-128, 127], [-128, 127]),
    ("cast", {"to": "bfloat16"}, np.uint8, [255, 1], [255, 1]),
    ("cast", {"to": "float64"}, np.int32, [2**31 - 1], [2**31 - 1]),
]


@pytest.mark.parametrize(("op", "keys", "dtype", "before", "after"), CHANGES)
def test_numbers(op, keys, dtype, before, after):
    found = only(getattr(surgery, op)(model(np.array(before, dtype)), "w/kernel", **keys))
    expected = np.array(after, found.dtype)
    if np.dtype(dtype).kind in "iub" or op == "zero":
        np.testing.assert_array_equal(found, expected)
    else:
        rtol = 2 * float(ml_dtypes.finfo(found.dtype).eps) if found.dtype.kind != "c" else 0
        np.testing.assert_allclose(found.astype(float), expected.astype(float), rtol=rtol)


SET = [
    (np.int64, 2**53 + 1),
    (np.int64, LOWEST64),
    (np.uint64, 2**64 - 1),
    (np.int8, -128),
    (np.int8, 5.0),
    (np.bool_, True),
    (np.bool_, False),
    (np.bool_, 1),
    (np.float64, 2**53),
    (ml_dtypes.int4, 7),
]


@pytest.mark.parametrize(("dtype", "number"), SET)
def test_set_is_exact(dtype, number):
    (found,) = only(surgery.set(model(np.zeros(1, dtype)), "**", to=number))
    assert int(found) == number


@pytest.mark.parametrize(
    ("dtype", "number"),
    [
        (np.int64, 2**63), (np.uint64, -1), (np.int8, 128), (np.int8, 0.5), (np.bool_, 2),
        (np.bool_, 0.5), (np.float32, True), (np.int8, True), (np.float16, 70000),
        (np.float32, 1e39), (ml_dtypes.int4, 8),
    ],
)  # fmt: skip
def test_set_refuses_what_is_not_held(dtype, number):
    with pytest.raises(SelectorError, match="which cannot hold"):
        surgery.set(model(np.zeros(1, dtype)), "**", to=number)


@pytest.mark.parametrize(
    ("dtype", "there", "fits"),
    [
        (np.int8, np.array([1, 127]), True),
        (np.int8, np.array([1, 300]), False),
        (np.int64, np.array([2**64 - 1], np.uint64), False),
        (np.uint8, np.array([-1]), False),
        (np.int64, np.array([2**53 + 1]), True),
        (np.bool_, np.array([True, False]), True),
    ],
)
def test_set_from_a_file_of_whole_numbers(dtype, there, fits, tmp_path):
    np.save(tmp_path / "v.npy", there)
    before = model(np.zeros(there.shape, dtype))
    if fits:
        after = only(surgery.set(before, "**", npy=str(tmp_path / "v.npy")))
        assert after.tolist() == there.tolist()
    else:
        with pytest.raises(SelectorError, match=r"cannot hold|does not go into"):
            surgery.set(before, "**", npy=str(tmp_path / "v.npy"))


@pytest.mark.parametrize(
    ("dtype", "to"),
    [
        (np.complex64, "float16"), (np.complex128, "float64"), (np.int64, "float64"),
        (np.uint64, "float32"), (np.int32, "float32"), (np.int16, "float16"),
    ],
)  # fmt: skip
def test_cast_refuses_to_lose_numbers(dtype, to):
    with pytest.raises(SelectorError, match="cannot hold all of its values"):
        surgery.cast(model(np.ones(1, dtype)), "w", to=to)


@pytest.mark.parametrize("dtype", [F16, BFLOAT16, F32, F64])
@pytest.mark.parametrize("number", [0.1, 0.3, 1e-3, 1 / 3, 0.7])
def test_a_number_is_what_the_dtype_holds(dtype, number):
    """Not above or below itself, and inside a range that ends with it."""
    there = surgery.set(model(np.ones(3, dtype)), "**", to=number)
    for keys in ({"above": number}, {"below": number}):
        assert np.array_equal(only(surgery.zero(there, "**", **keys)), only(there))


@pytest.mark.parametrize("form", ["npz", "safetensors"])
def test_what_is_clipped_is_in_range(form, tmp_path):
    dtypes = [F16, F32, F64] if form == "npz" else [BFLOAT16, F32]
    weights = [Weight(f"w{i}", constant(np.array([1, -1, 0.05], d))) for i, d in enumerate(dtypes)]
    surgery.save(Model(tuple(weights)), **{form: tmp_path / "m"})

    def run(limit):
        return surgery.run({
            "surgery": 1, "load": str(tmp_path / "m"),
            "steps": [{"clip": {"select": "**", "min": -0.1, "max": 0.1}}],
            "expect": [{"range": {"select": "**", "min": -limit, "max": limit}}],
            "export": [{form: str(tmp_path / "out")}]})  # fmt: skip

    run(0.1)
    with pytest.raises(ExpectationError, match="w0 reaches"):
        run(0.099)


AVERAGES = [
    ({"weights": [1, 0]}, [1, 2, 3]),
    ({"weights": [0, 1]}, [INF, NAN, 1]),
    ({"decay": 1}, [1, 2, 3]),
    ({"decay": 0}, [INF, NAN, 1]),
    ({"weights": [1e308, 1e308]}, [INF, NAN, 2]),
]


@pytest.mark.parametrize(("keys", "expected"), AVERAGES)
def test_what_does_not_count_is_not_in_an_average(keys, expected, tmp_path):
    surgery.save(model(np.array([INF, NAN, 1], F32)), npz=tmp_path / "d.npz")
    ours = model(np.array([1, 2, 3], F32))
    found = only(surgery.average(ours, "**", from_=[str(tmp_path / "d.npz")], **keys))
    np.testing.assert_array_equal(found, np.array(expected, F32))


def test_shares_of_large_and_small_weights():
    for weights in ([1e308] * 4, [1e-320] * 4):
        assert Average(from_=(None,) * 3, weights=tuple(weights)).shares() == [0.25] * 4


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (F32, np.array([1j], np.complex64)), (np.int8, np.array([300])), (F32, np.array([1])),
        (np.bool_, np.array([2])), (np.int64, np.array([2**64 - 1], np.uint64)),
        (np.int8, np.array([1], F32)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("op", ["copy", "average"])
def test_numbers_of_another_kind_are_not_taken(op, ours, theirs, tmp_path):
    surgery.save(model(theirs), npz=tmp_path / "d.npz")
    given = str(tmp_path / "d.npz")
    from_ = given if op == "copy" else [given]
    with pytest.raises(SelectorError, match=r"of another kind|floats only"):
        getattr(surgery, op)(model(np.ones(1, ours)), "w", from_=from_)


@pytest.mark.parametrize(("ours", "theirs"), [(np.int32, np.int64), (np.bool_, np.int8)])
def test_whole_numbers_that_fit_are_taken(ours, theirs, tmp_path):
    surgery.save(model(np.array([1, 0], theirs)), npz=tmp_path / "d.npz")
    found = only(surgery.copy(model(np.zeros(2, ours)), "w", from_=str(tmp_path / "d.npz")))
    assert found.dtype == ours
    assert found.tolist() == [1, 0]


COUNTED = [
    ("scale", {"by": 2}), ("noise", {"std": 1}), ("normalize", {}), ("clip", {"max": 0.5}),
    ("quantize_values", {"bits": 2}), ("cast", {"to": "float16"}), ("zero", {"below": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("op", "keys"), COUNTED)
def test_all_leaves_counters_alone_with_a_note(op, keys):
    weights = (
        Weight("w/kernel", constant(np.ones((4, 4), F32))),
        Weight("w/count", constant(np.array(7))),
        Weight("w/seen", constant(np.array([True]))),
    )
    ours = Model(weights)
    changed = getattr(surgery, op)(ours, "**", **keys)
    assert changed["w/count"] is ours["w/count"]
    assert changed["w/seen"] is ours["w/seen"]
    assert changed["w/kernel"] is not ours["w/kernel"]
    assert changed.notes == (f"{op} leaves integers unchanged: w/count, w/seen",)
    with pytest.raises(SelectorError, match="w/count is int64"):
        getattr(surgery, op)(ours, "w", **keys)


def test_whole_numbers_with_a_scale_are_no_counters():
    weights = (
        Weight("w/kernel", constant(np.ones(4, np.int8))),
        Weight("w/kernel_scale", constant(np.ones(4, F32))),
    )
    with pytest.raises(SelectorError, match="w/kernel is int8"):
        surgery.scale(Model(weights), "**", by=2)


def test_whole_numbers_alone_are_refused():
    with pytest.raises(SelectorError, match="w/kernel is int64"):
        surgery.scale(model(np.ones(3, np.int64)), "**", by=2)


def test_large_whole_numbers_are_not_ranked_with_floats():
    both = Model((Weight("a", constant(np.ones(2))), Weight("b", constant(np.arange(2)))))
    with pytest.raises(SelectorError, match="not ranked together exactly"):
        surgery.zero(both, "**", lowest="50%", scope="global")


def test_relative_noise_of_very_large_weights():
    values = np.random.default_rng(0).standard_normal(10_000)
    small = only(surgery.noise(model(values), "**", relative_std=0.1))
    large = only(surgery.noise(model(values * 2.0**1000), "**", relative_std=0.1))
    np.testing.assert_array_equal(large, small * 2.0**1000)


def test_a_number_too_large_for_any_dtype_is_refused():
    for op, keys in (("scale", {"by": 10**400}), ("set", {"to": 10**400})):
        with pytest.raises((RecipeError, SurgeryError), match="number"):
            getattr(surgery, op)(model(np.ones(3)), "**", **keys)
