"""What holds for every operation, whatever it does: found by registry, as formats are."""

import sys
from dataclasses import dataclass, replace

import ml_dtypes
import numpy as np
import pytest

from surgery.declared.fields import key
from surgery.errors import SurgeryError
from surgery.ops.base import FloatOp, ops
from surgery.ops.live import LiveOp
from surgery.ops.structure import StructureOp
from surgery.recipe.parts import build_op
from surgery.testing.models import with_slots
from surgery.testing.ops import check_op_on
from surgery.weights.selectors import Select
from surgery.weights.tensor import CHUNK, Reduction
from tests.conftest import dense_layers, same_bytes
from tests.keras.test_structure_contract import STRUCTURE

BFLOAT16 = ml_dtypes.bfloat16
DTYPES = [np.float16, BFLOAT16, np.float32, np.float64, np.int8, np.bool_]
FLOATS = DTYPES[:4]
SMALL_CHUNK = 64
RNG = np.random.default_rng(0)
NORMAL = RNG.standard_normal((8, 18))
ARRAYS = {
    "odd": np.array([[np.nan, -0.0, 0.0, 1e-45], [np.inf, -np.inf, 3, -2], [1, 1, -1, 0.25],
                     [0.5, 7, -0.5, 2]]),
    "three-chunks": NORMAL,
    "ties": np.round(NORMAL),
    "empty": np.zeros((0, 4)),
    "scalar": np.array(0.75),
}  # fmt: skip


def wide(x):
    return x.astype(np.float32 if x.dtype.name in ("float16", "bfloat16") else x.dtype)


def number(value, x):
    return wide(x).dtype.type(value)


def finite(x):
    x = x.astype(np.float64)
    return np.where(np.isfinite(x), x, 0)


def without_lowest(share):
    def golden(x):
        flat = x.reshape(-1).copy()
        order = np.argsort(np.abs(flat.astype(np.float64)), kind="stable")
        flat[order[: int(share * flat.size)]] = 0
        return flat.reshape(x.shape)

    return golden


def without_channels(x):
    norms = np.sqrt((finite(x) ** 2).sum(0))
    result = x.copy()
    result[:, np.argsort(norms, kind="stable")[: x.shape[1] // 2]] = 0
    return result


def two_of_four(x):
    result = x.copy()
    for group in range(x.shape[0] // 4):
        rows = result[4 * group : 4 * group + 4]
        order = np.argsort(np.abs(rows.astype(np.float64)), axis=0, kind="stable")
        np.put_along_axis(rows, order[:2], 0, axis=0)
    return result


def normalized(x):
    norm = np.sqrt((finite(x) ** 2).sum())
    return (x.astype(np.float64) / (norm or 1)).astype(x.dtype)


def in_four_bits(x):
    step = np.abs(finite(x)).max(initial=0) / 7 or 1
    rounded = np.rint(finite(x) / step) * step
    return np.where(np.isfinite(x.astype(np.float64)), rounded.astype(x.dtype), x)


def cast_to(name):
    return lambda x: x.astype(BFLOAT16 if name == "bfloat16" else name)


CASES = {
    "average": [({"from": "donor"}, lambda x: (
        x.astype(np.float64) * 0.5 + given(x).astype(np.float64) * 0.5).astype(x.dtype))],
    "cast": [({"to": name}, cast_to(name)) for name in ("float16", "bfloat16", "float32",
                                                        "float64")],
    "clip": [({"min": -0.5, "max": 0.5}, lambda x: np.clip(x.astype(float), -0.5, 0.5).astype(
        x.dtype))],
    "compute": [({"to": "a/kernel", "from": {"x": "a/kernel"}, "expr": "abs(x) * 0.3"}, lambda x: (
        np.abs(wide(x)) * number(0.3, x)).astype(x.dtype))],
    "copy": [({"from": "donor"}, lambda x: given(x))],
    "freeze": [({}, None)],
    "noise": [({"std": 0.1}, None), ({"relative_std": 0.1, "distribution": "uniform"}, None)],
    "normalize": [({}, normalized), ({"norm": "max", "per": "output_channel"}, None)],
    "permute": [({"order": [1, 0, 3, 2, *range(4, 18)], "axis": -1}, lambda x: x[
        ..., [1, 0, 3, 2, *range(4, 18)]]), ({"order": [2, 0, 3, 1], "axis": 0}, lambda x: x[
            [2, 0, 3, 1]]), ({"order": [*range(7, -1, -1)], "axis": 0}, lambda x: x[::-1])],
    "quantize_values": [({"bits": 4}, in_four_bits), ({"values": 3}, None)],
    "reinitialize": [({"initializer": "HeNormal"}, None), ({"initializer": "Orthogonal"}, None)],
    "rename": [({"to": "b"}, None)],
    "reshape": [({"to": [-1, 2]}, lambda x: x.reshape(-1, 2))],
    "scale": [({"by": 0.3}, lambda x: (wide(x) * number(0.3, x)).astype(x.dtype))],
    "set": [({"to": 0.5}, lambda x: np.full_like(x, 0.5)), ({"to": 1}, lambda x: np.full_like(
        x, 1)), ({"npy": "array"}, lambda x: x[::-1] if x.ndim else x)],
    "shift": [({"by": 0.3}, lambda x: (wide(x) + number(0.3, x)).astype(x.dtype))],
    "transpose": [({}, lambda x: x.T)],
    "unfreeze": [({}, None)],
    "zero": [
        ({}, np.zeros_like),
        ({"lowest": "40%"}, without_lowest(0.4)),
        ({"keep": "40%"}, lambda x: without_lowest((x.size - int(0.4 * x.size)) / (x.size or 1))(
            x)),
        ({"lowest": "40%", "scope": "global"}, without_lowest(0.4)),
        ({"random": "40%"}, None),
        ({"channels": "50%"}, without_channels),
        ({"n_of_m": "2:4"}, two_of_four),
        ({"below": 0.5}, lambda x: np.where(np.abs(x.astype(float)) < 0.5, x.dtype.type(0), x)),
        ({"above": 0.5}, lambda x: np.where(np.abs(x.astype(float)) > 0.5, x.dtype.type(0), x)),
    ],
}  # fmt: skip
"""Keys of every op, with what NumPy makes of a whole array; None where that is drawn or fitted."""

WITH_WEIGHTS = [name for name in CASES if ops()[name].changes_weights]
MOVES = ("cast", "permute", "reshape", "transpose")
"""What changes the optimizer's slots as it changes the weight."""


def given(x):
    """The donor's array."""
    return x[..., ::-1].copy() if x.ndim else x


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks so small that three of them are no work."""
    for module in list(sys.modules.values()):
        if module.__name__.startswith("surgery.") and hasattr(module, "CHUNK"):
            monkeypatch.setattr(module, "CHUNK", SMALL_CHUNK)


def built(name, keys, array, folder):
    """The op with the files that its keys name."""
    if name == "compute":
        return build_op(name, keys, 5)
    if "from" in keys:
        np.savez(folder / "donor.npz", **{"a.kernel": given(array)})
        donor = with_slots(given(array))
        save(donor, folder / "donor.npz")
        path = str(folder / "donor.npz")
        keys = {**keys, "from": [path] if name == "average" else path}
    if "npy" in keys:
        np.save(folder / "array.npy", array[::-1] if array.ndim else array)
        keys = {**keys, "npy": str(folder / "array.npy")}
    return build_op(name, {"select": "a/kernel", **keys}, 5)


def save(model, path):
    import surgery

    surgery.save(model, npz=path)


OF_TABLES = ("concat", "create", "delete", "keep", "pad", "split", "stack")
"""What makes other weights than there were: `test_tables.py` has it done."""

LIVE = {
    "activations": {"layers": ["a"]},
    "evaluate": {"loss": "mse"},
    "predict": {"export": "predicted.npz"},
    "train": {"loss": "mse"},
}
"""Keys of what a running model does, besides its data: `tests/live` has it done."""


def test_every_operation_is_here():
    tables = {*CASES, *LIVE, *STRUCTURE, *OF_TABLES}
    assert tables == set(ops()), "CONTRIBUTING.md, Add an op: which table gets a row"
    assert all(issubclass(ops()[name], LiveOp) == (name in LIVE) for name in ops())
    assert all(issubclass(ops()[name], StructureOp) == (name in STRUCTURE) for name in ops())


@pytest.mark.parametrize("name", LIVE)
def test_what_is_foretold_of_a_running_model(name, tmp_path):
    """A plan knows no new values: weights, dtypes and flags are what they were."""
    np.savez(tmp_path / "d.npz", x=np.ones((3, 4), np.float32), y=np.ones((3, 2), np.float32))
    model = dense_layers(["a", "c"], [4, 3, 2])
    data = {"npz": str(tmp_path / "d.npz"), "x": "x", "y": "y"}
    after = build_op(name, {"data": data, **LIVE[name]}).apply(model)
    assert after.weights == model.weights


def is_exact(name):
    return name not in ("normalize", "quantize_values")


@pytest.mark.parametrize("kind", ARRAYS)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_contract(name, dtype, kind, small_chunks, tmp_path):
    """It does what NumPy does, or it refuses before anything is read."""
    with np.errstate(all="ignore"):
        array = ARRAYS[kind].astype(dtype)
    done = 0
    for keys, golden in CASES[name]:
        if "npy" in keys and dtype is BFLOAT16:
            continue  # which .npy files have no name for
        op = built(name, keys, array, tmp_path)
        try:
            op.apply(with_slots(array))
        except SurgeryError:
            continue
        check_op_on(with_slots(array), op, golden, name in MOVES, is_exact(name))
        done += 1
    assert done or dtype not in FLOATS or kind in ("empty", "scalar") or name == "permute"


@pytest.mark.parametrize("name", [n for n in WITH_WEIGHTS if n not in ("average", "copy")])
def test_contract_of_chunks_in_their_real_size(name, tmp_path):
    array = RNG.standard_normal((8, CHUNK // 4 + 3)).astype(np.float32)
    for keys, golden in CASES[name][:2]:
        if "npy" not in keys and "initializer" not in keys and name != "permute":
            op = built(name, keys, array, tmp_path)
            check_op_on(with_slots(array), op, golden, name in MOVES, is_exact(name))


@pytest.mark.parametrize("name", [n for n in CASES if n not in WITH_WEIGHTS])
def test_what_changes_no_weights(name):
    model = dense_layers(["a", "c"], [4, 3, 2])
    after = build_op(name, {"select": "a", **CASES[name][0][0]}).apply(model)
    assert [w.tensor for w in after.weights] == [w.tensor for w in model.weights]
    assert not name.startswith("re") or not same_bytes(after, model)


@dataclass(frozen=True, kw_only=True)
class Planted(FloatOp):
    """What a wrong operation has in common with right ones."""

    name = "planted"
    select: Select = key("The weights.", "**", default=Select("a/kernel"))


class PerChunkMean(Planted):
    def changed(self, model, weights):
        return model.map(weights, lambda values, _: values - values.mean(dtype=values.dtype))


class WholeMean(Planted):
    def changed(self, model, weights):
        def mean_of(weight):
            mean = Reduction(lambda _: weight.tensor.numpy().mean(), 1)
            return lambda values, _: values - mean.result()

        return model.map_each(weights, mean_of)


class Doubled(Planted):
    def changed(self, model, weights):
        return model.map(weights, lambda values, _: values * 2)


class MappedTwice(Doubled):
    def changed(self, model, weights):
        once = super().changed(model, weights)
        return super().changed(once, [once[weight.address] for weight in weights])


class WithoutSlots(Planted):
    def changed(self, model, weights):
        doubled = Doubled().changed(model, weights)
        return doubled.with_weights(replace(doubled[w.address], slots=()) for w in weights)


@pytest.mark.parametrize(
    ("right", "wrong", "golden"),
    [
        (WholeMean(), PerChunkMean(), None),
        (Doubled(), MappedTwice(), lambda x: x * 2),
        (Doubled(), WithoutSlots(), lambda x: x * 2),
    ],
    ids=["per-chunk mean", "maps twice", "drops slots"],
)
def test_the_contract_finds_wrong_operations(right, wrong, golden, small_chunks):
    model = with_slots(NORMAL)
    check_op_on(model, right, golden)
    with pytest.raises(AssertionError):
        check_op_on(model, wrong, golden)


def test_an_effect_is_told_however_often_a_step_maps(small_chunks):
    check_op_on(with_slots(NORMAL), MappedTwice(), lambda x: x * 4)
