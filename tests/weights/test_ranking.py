import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgery.weights import ranking, tensor
from surgery.weights.ranking import lowest
from surgery.weights.tensor import constant

DTYPES = [np.float16, np.float32, np.float64, ml_dtypes.bfloat16]


def expected(arrays, count):
    flat = np.concatenate([np.abs(a.astype(np.float64)) for a in arrays])
    mask = np.zeros(flat.size, bool)
    mask[np.argsort(flat, kind="stable")[:count]] = True
    return np.split(mask, np.cumsum([a.size for a in arrays])[:-1])


def check(arrays, count):
    found = lowest([constant(a) for a in arrays], count)
    for number, (array, mask) in enumerate(zip(arrays, expected(arrays, count), strict=True)):
        marked = np.concatenate(
            [found.mask(array[s:e], number, s) for s, e in tensor.spans(array.size)]
            or [np.zeros(0, bool)]
        )
        # Which zeros are meant makes no difference, so ties at zero may be left unmarked.
        assert (np.where(marked, 0, array) == np.where(mask, 0, array)).all()


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
    assert lowest([constant(values)], 3).mask(values, 0, 0).tolist() == [
        False, False, True, True, False, True,
    ]  # fmt: skip


def test_passes():
    assert [ranking.passes_to_rank(np.dtype(d)) for d in DTYPES] == [1, 2, 4, 1]
