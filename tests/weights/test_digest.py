import hashlib
import os

import numpy as np
import pytest

from surgery.recipe.sources import FromPath
from surgery.weights.digest import Digest, HashingTensor, sha256
from surgery.weights.tensor import CHUNK, FunctionTensor, chunk_ranges, constant

VALUES = np.random.default_rng(0).standard_normal(6 * CHUNK + 5).astype(np.float32)
SUM = hashlib.sha256(VALUES.tobytes()).hexdigest()


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4, 5, 6), (6, 5, 4, 3, 2, 1, 0), (3, 3, 0, 6)])
def test_chunks_in_any_order(order):
    digest, chunks = Digest(VALUES.size), list(chunk_ranges(VALUES.size))
    for number in order:
        start, stop = chunks[number]
        digest.update(start, VALUES[start:stop])
        digest.update(start, VALUES[start : stop - 1])
    assert digest.finish(constant(VALUES)) == SUM == sha256(constant(VALUES))


def test_what_was_summed_is_not_read_again():
    read = []

    def reading(start, stop):
        read.append((start, stop))
        return VALUES[start:stop]

    watched = HashingTensor(FunctionTensor(VALUES.shape, VALUES.dtype, reading))
    assert watched.hexdigest() == SUM
    assert read == list(chunk_ranges(VALUES.size))
    assert HashingTensor(watched).hexdigest() == SUM
    assert read == list(chunk_ranges(VALUES.size))


def test_seen_is_what_was_read_through_this_very_object():
    before = HashingTensor(constant(VALUES))
    before.hexdigest()
    again = HashingTensor(before)
    for start, _ in chunk_ranges(VALUES.size):
        again.read(start, start + 1)
    assert (before.seen, again.seen) == (SUM, None)
    again.numpy()
    assert again.seen == SUM


def test_what_a_broken_off_run_kept_is_let_go():
    """Else the chunks that wait for others would stay in memory, and those of others could not."""
    broken = HashingTensor(constant(VALUES))
    for start, stop in list(chunk_ranges(VALUES.size))[1:5]:
        broken.read(start, stop)
    for watched in (HashingTensor(broken), HashingTensor(constant(VALUES))):
        for start, stop in [
            *reversed(list(chunk_ranges(5 * CHUNK))),
            *list(chunk_ranges(VALUES.size))[5:],
        ]:
            watched.read(start, stop)
        assert watched.seen == SUM


def test_a_source_is_summed_once_until_it_changes(tmp_path):
    path = tmp_path / "w.npz"
    np.savez(path, **{"a/kernel": VALUES})
    source = FromPath(path=path)
    first = source.opened(0).hashed()["a/kernel"].tensor
    assert first.hexdigest() == SUM
    again = source.opened(0).hashed()["a/kernel"].tensor
    assert again.digest is first.digest
    np.savez(tmp_path / "other.npz", **{"a/kernel": -VALUES})
    os.replace(tmp_path / "other.npz", path)
    assert source.opened(0).hashed()["a/kernel"].tensor.hexdigest() == sha256(constant(-VALUES))
