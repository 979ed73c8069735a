"""The contract of ops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields

import ml_dtypes
import numpy as np

from surgery.errors import SurgeryError
from surgery.execution.observing import Observer
from surgery.ops.base import Op
from surgery.testing.models import with_slots
from surgery.weights.model import Model
from surgery.weights.tensor import CHUNK, Array, Tensor
from surgery.weights.weight import Weight

Golden = Callable[[Array], Array]
"""A function that computes the expected result of a whole array with NumPy."""

_DTYPES = (np.float16, ml_dtypes.bfloat16, np.float32, np.float64)
_LONG = (8, CHUNK // 4 + 3)


def check_op(op: Op, golden: Golden | None = None, moves: bool = False, exact: bool = True) -> None:
    """Raise AssertionError if an op that selects `a/kernel` breaks the contract.

    It is applied to small arrays of every floating dtype, and to one of three chunks. `golden`
    computes the expected array. With `moves`, slots must change like the weight; without `exact`,
    the last bits may differ. The op may refuse arrays by a SurgeryError.
    """
    done = 0
    for array in _arrays():
        try:
            op.apply(with_slots(array))
        except SurgeryError:
            continue
        check_op_on(with_slots(array), op, golden, moves, exact)
        done += 1
    assert done, f"{op.name} refuses every array"


def _arrays() -> Iterator[Array]:
    random = np.random.default_rng(0)
    odd = [np.nan, -0.0, 0.0, 1e-45, np.inf, -np.inf, 3, -2]
    for dtype in _DTYPES:
        with np.errstate(all="ignore"):
            yield np.array(odd).reshape(2, 4).astype(dtype)
        yield random.standard_normal((8, 18)).astype(dtype)
        yield np.zeros((0, 4), dtype)
        yield np.array(0.75, dtype)
    yield random.standard_normal(_LONG).astype(np.float32)


def check_op_on(
    model: Model,
    op: Op,
    golden: Golden | None = None,
    moves: bool = False,
    exact: bool = True,
) -> None:
    """Raise AssertionError if the op breaks the contract on the model; see `check_op`."""
    before = model["a/kernel"]
    array = before.tensor.numpy()
    after = op.apply(model)["a/kernel"]
    expected = array if golden is None else golden(array)
    assert (after.tensor.shape, after.tensor.dtype) == (expected.shape, expected.dtype)
    whole = after.tensor.read(0, array.size)
    _check_reading(after.tensor, whole)
    if golden is not None and exact:
        assert _equal(whole, expected.reshape(-1))
    elif golden is not None:
        near = 2 * float(ml_dtypes.finfo(array.dtype).eps)
        np.testing.assert_allclose(
            whole.astype(float), expected.reshape(-1).astype(float), rtol=near
        )
    _check_report(op, model, array, whole)
    _check_rest(before, after, golden if moves else None)
    assert op.apply(model)["b/kernel"] is model["b/kernel"]


def _equal(a: Array, b: Array) -> bool:
    """Return whether both have the same numbers; NaN equals NaN."""
    return np.array_equal(a.astype(complex), b.astype(complex), equal_nan=True)


def _check_reading(tensor: Tensor, whole: Array) -> None:
    """Raise AssertionError unless reading by chunks and by ranges equals `whole`."""
    chunks = list(tensor.chunks()) or [whole]
    assert np.concatenate(chunks).tobytes() == whole.tobytes()
    third = max(1, whole.size // 3)
    for size in (7, third) if whole.size < 1000 else (third - 5,):
        pieces = [tensor.read(i, min(i + size, whole.size)) for i in range(0, whole.size, size)]
        assert np.concatenate(pieces or [whole]).tobytes() == whole.tobytes()


def _check_report(op: Op, model: Model, before: Array, after: Array) -> None:
    """Check that the observed effect equals what NumPy finds."""
    observer = Observer()
    watched = observer.watch(model, op.apply(model))
    for _ in watched["a/kernel"].tensor.chunks():
        pass
    effect = observer.total()
    assert effect.changed == _differing(before, after)
    assert effect.before.count == effect.after.count == before.size
    assert effect.after.zeros == int(np.count_nonzero(after == 0))


def _differing(before: Array, after: Array) -> int:
    """Count the elements that differ; two NaN at the same place are equal."""
    before, after = before.reshape(-1), after.reshape(-1)
    with np.errstate(invalid="ignore"):
        both_nan = (before != before) & (after != after)  # noqa: PLR0124
        return int(np.count_nonzero((before != after) & ~both_nan))


def _check_rest(before: Weight, after: Weight, golden: Golden | None) -> None:
    """Check that flags and slots are unchanged, or changed like the weight."""
    kept = [f.name for f in fields(Weight) if f.name not in ("tensor", "slots", "reshaped")]
    assert all(getattr(before, name) == getattr(after, name) for name in kept)
    assert after.reshaped == (after.tensor.shape != before.tensor.shape)
    assert [name for name, _ in after.slots] == [name for name, _ in before.slots]
    for (_, old), (_, new) in zip(before.slots, after.slots, strict=True):
        expected = old.numpy() if golden is None else golden(old.numpy())
        assert new.dtype == expected.dtype
        assert new.numpy().tobytes() == np.ascontiguousarray(expected).tobytes()
