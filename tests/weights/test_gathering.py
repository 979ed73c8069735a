"""Tensors with places along an axis left out or repeated."""

import numpy as np
import pytest

from surgery.weights import gathering
from surgery.weights.tensor import CHUNK, FunctionTensor, constant

RNG = np.random.default_rng(0)
ARRAY = RNG.standard_normal((3, 5, 4, 2)).astype(np.float32)


@pytest.mark.parametrize("chunk", [1, 3, 8, 1000])
@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("axis", range(4))
@pytest.mark.parametrize("count", [1, 2, 7])
def test_gathered(axis, count, small, chunk, monkeypatch):
    monkeypatch.setattr(gathering, "CHUNK", 1 << 20 if small else 0)
    size = ARRAY.shape[axis]
    for index in (RNG.integers(0, size, count), np.append(np.arange(size), [0] * count)):
        tensor = gathering.gathered(constant(ARRAY), axis, index)
        expected = np.take(ARRAY, index, axis)
        assert tensor.shape == expected.shape
        ranges = [(i, min(i + chunk, tensor.size)) for i in range(0, tensor.size, chunk)]
        found = np.concatenate([tensor.read(*each) for each in ranges])
        np.testing.assert_array_equal(found, expected.ravel())
        assert tensor.read(2, 2).size == 0


def test_few_of_many_channels_are_read_in_parts():
    """A chunk of the result may come from a large part of the tensor, which is not held at once."""
    most = []
    rows, count = CHUNK // 16, 1024

    def read(start, stop):
        most.append(stop - start)
        return (np.arange(start, stop) % count).astype(np.float32)

    tensor = FunctionTensor((rows, count), np.dtype(np.float32), read)
    cut = gathering.gathered(tensor, 1, np.array([3, 900]))
    chunk = cut.read(0, min(CHUNK, cut.size))
    assert set(chunk[::2]) == {3.0}
    assert set(chunk[1::2]) == {900.0}
    assert max(most) <= 5 * CHUNK
