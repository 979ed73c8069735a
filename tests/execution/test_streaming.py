"""How chunks are handed to threads."""

import time
from collections import Counter

import numpy as np
import pytest

from surgery.execution.progress import Silent
from surgery.execution.streaming import stream
from surgery.formats.base import Output
from surgery.weights.digest import sha256
from surgery.weights.tensor import CHUNK, FunctionTensor, constant

SIZES = {
    "one large tensor": [12 * CHUNK],
    "a large one and others": [2 * CHUNK, 8 * CHUNK + 1, 0, 5, CHUNK],
    "many": [3 * CHUNK] * 5,
    "many small ones and a large one": [*[5] * 40, 3 * CHUNK],
}


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("name", SIZES)
def test_every_chunk_is_read_once(name, threads):
    """Also where the first chunk of a tensor takes longest, and the others must wait for it."""
    read, given = Counter(), Counter()

    def slow(number, values):
        def make(start, stop):
            time.sleep(0.05 if start == 0 else 0.001)
            read[number, start] += 1
            return values[start:stop]

        return FunctionTensor(values.shape, values.dtype, make)

    arrays = [np.full(size, number, np.uint8) for number, size in enumerate(SIZES[name])]
    tensors = [slow(number, values) for number, values in enumerate(arrays)]

    def sink(number):
        def write(start, values):
            given[number] += values.size

        return write

    output = Output([(t, sink(n)) for n, t in enumerate(tensors)], lambda: None)
    digests = stream([output], threads, Silent(), {}, summing=True)
    assert set(read.values()) == {1}
    assert [given[number] for number in range(len(arrays))] == SIZES[name]
    expected = {id(t): sha256(constant(v)) for t, v in zip(tensors, arrays, strict=True)}
    assert digests == expected


@pytest.mark.parametrize("broken", ["small", "large"])
def test_an_error_ends_the_thread_with_small_tensors_and_the_others(broken):
    read = Counter()

    def tensor(size, kind):
        def make(start, stop):
            time.sleep(0.002)
            read[kind] += 1
            if kind == broken and read[kind] == 3:
                raise OSError("broken")
            return np.zeros(stop - start, np.uint8)

        return FunctionTensor((size,), np.dtype(np.uint8), make)

    tensors = [*[tensor(5, "small") for _ in range(1000)], tensor(1000 * CHUNK, "large")]
    output = Output([(t, lambda _start, _values: None) for t in tensors], lambda: None)
    with pytest.raises(OSError, match="broken"):
        stream([output], 2, Silent(), {}, summing=False)
    assert read["small"] + read["large"] < 200


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_first_error_ends_all_threads(threads):
    def failing(start, stop):
        if start == 2 * CHUNK:
            raise OSError("broken")
        return np.zeros(stop - start, np.uint8)

    tensors = [FunctionTensor((9 * CHUNK,), np.dtype(np.uint8), failing) for _ in range(3)]
    output = Output([(t, lambda _start, _values: None) for t in tensors], lambda: None)
    with pytest.raises(OSError, match="broken"):
        stream([output], threads, Silent(), {}, summing=True)
