import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgery.weights import ranking, tensor
from surgery.weights.ranking import lowest
from surgery.weights.tensor import FunctionTensor, constant

DTYPES = [np.float16, np.float32, np.float64, ml_dtypes.bfloat16]


def expected(arrays, count):
    flat = np.concatenate([np.abs(a.astype(np.float64)) for a in arrays])
    mask = np.zeros(flat.size, bool)
    mask[np.argsort(flat, kind="stable")[:count]] = True
    return np.split(mask, np.cumsum([a.size for a in arrays])[:-1])


def check(arrays, count):
    found = lowest([constant(a) for a in arrays], count)
    for number, (array, mask) in enumerate(zip(arrays, expected(arrays, count), strict=True)):
        zeroed = np.concatenate(
            [found.zeroed(array[s:e], number, s) for s, e in tensor.chunk_ranges(array.size)]
            or [array]
        )
        assert (zeroed == np.where(mask, 0, array)).all()
        assert zeroed.dtype == array.dtype
        kept = ~mask & (array != 0)
        assert zeroed[kept].tobytes() == array[kept].tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_agrees_with_a_stable_sort(dtype, data):
    numbers = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -3.0, 1e-7]) | st.floats(
        -100, 100, width=16
    )
    lists = data.draw(st.lists(st.lists(numbers, min_size=0, max_size=30), min_size=1, max_size=3))
    arrays = [np.array(values, dtype) for values in lists]
    total = sum(a.size for a in arrays)
    check(arrays, data.draw(st.integers(0, total)))


def test_ties_go_to_the_lower_index_across_chunks(monkeypatch):
    monkeypatch.setattr(tensor, "CHUNK", 8)
    ones = np.ones(100, np.float32)
    for count in (1, 7, 8, 9, 50, 99, 100):
        check([ones, -ones], count)


def test_nan_and_infinity_are_the_largest():
    values = np.array([np.nan, np.inf, -1, 5, -np.inf, 0.5], np.float32)
    zeroed = lowest([constant(values)], 3).zeroed(values, 0, 0)
    assert (zeroed == 0).tolist() == [False, False, True, True, False, True]


def test_passes():
    assert [ranking.passes_to_rank([constant(np.zeros(1000, d))]) for d in DTYPES] == [1, 2, 4, 1]
    assert [
        ranking.passes_to_rank([FunctionTensor((1 << 30,), np.dtype(d), None)]) for d in DTYPES
    ] == [1] * 4


@pytest.fixture
def sampled(monkeypatch):
    """Small tensors are sampled too, and it is counted how often that is enough."""
    monkeypatch.setattr(ranking, "_SAMPLED_FROM", 1)
    monkeypatch.setattr(ranking, "_RUN", 16)
    monkeypatch.setattr(tensor, "CHUNK", 1 << 12)
    histograms = []
    whole = ranking._by_histograms
    monkeypatch.setattr(ranking, "_by_histograms", lambda *a: histograms.append(1) or whole(*a))
    return histograms


def arrays_of(kind):
    rng = np.random.default_rng(0)
    normal = rng.standard_normal(100_000)
    return {
        "normal": normal,
        "uniform": rng.random(100_000),
        "sparse": np.where(rng.random(100_000) < 0.8, 0, normal),
        "constant": np.ones(100_000),
        "two-values": np.where(rng.random(100_000) < 0.5, 1.0, -2.0),
        "coarse": np.round(normal, 1),
        "sorted": np.sort(np.abs(normal)),
        "outliers": np.concatenate([np.full(90_000, 1e-3), normal[:10_000] * 1e6]),
    }[kind]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "kind",
    ["normal", "uniform", "sparse", "constant", "two-values", "coarse", "sorted", "outliers"],
)
def test_the_sample_does_not_change_the_result(kind, dtype, sampled):
    array = arrays_of(kind).astype(dtype)
    for share in (0.00001, 0.1, 0.5, 0.79, 0.81, 0.99999):
        check([array[:30_000], array[30_000:]], int(share * array.size))


def test_the_sample_is_enough_as_a_rule(sampled):
    for kind in ("normal", "uniform", "sparse", "coarse"):
        check([arrays_of(kind).astype(np.float32)], 10_000)
    assert not sampled


def test_too_many_between_is_left_to_histograms(sampled, monkeypatch):
    monkeypatch.setattr(ranking, "_MOST_BETWEEN", 100)
    check([arrays_of("normal").astype(np.float32)], 10_000)
    assert sampled
