import numpy as np
import pytest

from surgery.weights.statistics import of_tensor
from surgery.weights.tensor import CHUNK, constant


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8])
def test_agrees_with_numpy(dtype):
    rng = np.random.default_rng(0)
    values = (rng.standard_normal(CHUNK + 12345) * 9 + 3).astype(dtype)
    found = of_tensor(constant(values))
    exact = values.astype(np.float64)
    assert (found.low, found.high) == (exact.min(), exact.max())
    assert found.zeros == (values == 0).sum()
    np.testing.assert_allclose([found.mean, found.std], [exact.mean(), exact.std()], rtol=1e-12)


def test_a_large_mean_does_not_drown_the_deviation():
    values = 1e8 + np.random.default_rng(0).standard_normal(300_000)
    np.testing.assert_allclose(of_tensor(constant(values)).std, values.std(), rtol=1e-9)


def test_what_is_not_finite_is_counted_and_left_out():
    values = np.array([np.nan, np.inf, -np.inf, 1, 3, 0], np.float32)
    assert of_tensor(constant(values)).as_dict() == {
        "min": 0.0, "max": 3.0, "mean": 4 / 3, "std": np.std([1, 3, 0]),
        "zeros": 1, "nonfinite": 3,
    }  # fmt: skip


@pytest.mark.parametrize("values", [[], [np.nan, np.nan]])
def test_nothing_finite(values):
    found = of_tensor(constant(np.array(values, np.float32))).as_dict()
    assert [found[k] for k in ("min", "max", "mean", "std")] == [None] * 4
