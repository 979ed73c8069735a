"""What a run tells of its steps is what NumPy finds, whatever the steps after them read."""

import json

import numpy as np
import pytest

import surgery
from surgery.weights.model import Model
from surgery.weights.tensor import CHUNK, constant
from surgery.weights.weight import Weight
from tests.conftest import command, dense_layers

RNG = np.random.default_rng(0)
LARGE = RNG.standard_normal((1448, 1449)).astype(np.float32)  # three chunks
SCALE = {"scale": {"select": "**", "by": 2}}
FOLLOWED = {
    "nothing": [],
    "blocks of other sizes": [{"zero": {"select": "w/kernel", "n_of_m": "2:4"}}],
    "another order": [{"permute": {"select": "w/kernel", "order": [*range(1448, -1, -1)]}}],
    "other axes": [{"transpose": {"select": "w/kernel"}}, {"transpose": {"select": "w/kernel"}}],
    "a set that needs none of it": [{"set": {"select": "w/kernel", "to": 1}}],
}


def effects(folder, array, steps, target="npz"):
    path = folder / "in.npz"
    surgery.save(Model((Weight("w/kernel", constant(array)),)), npz=path)
    result = surgery.run({"surgery": 1, "name": "r", "load": str(path), "steps": steps,
                          "export": [{target: str(folder / "out")}]})  # fmt: skip
    return [effect for _, effect in result.effects()], surgery.open(folder / "out")


@pytest.mark.parametrize("steps", FOLLOWED.values(), ids=FOLLOWED)
def test_every_element_is_counted_once(steps, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (effect, *_), _ = effects(tmp_path, LARGE, [SCALE, *steps])
    assert effect.changed == np.count_nonzero(LARGE)
    assert effect.before.count == effect.after.count == LARGE.size
    np.testing.assert_allclose(effect.after.mean, 2 * LARGE.mean(dtype=float), rtol=1e-9)


def test_a_ranking_that_samples_is_no_effect(tmp_path, monkeypatch):
    """It reads short runs of a tensor first."""
    monkeypatch.chdir(tmp_path)
    array = np.resize(RNG.standard_normal(1 << 16).astype(np.float32), 5 * CHUNK)
    steps = [SCALE, {"zero": {"select": "**", "lowest": "50%"}}]
    found, _ = effects(tmp_path, array, steps)
    assert [effect.before.count for effect in found] == [array.size, array.size]
    assert [effect.changed for effect in found] == [array.size, array.size // 2]


def test_ties_are_the_same_wherever_a_later_step_reads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    array = np.round(LARGE)
    order = RNG.permutation(array.shape[1]).tolist()
    steps = [
        {"zero": {"select": "**", "lowest": "60%"}},
        {"permute": {"select": "**", "order": order}},
    ]
    (effect, _), model = effects(tmp_path, array, steps)
    flat = array.reshape(-1).copy()
    flat[np.argsort(np.abs(flat), kind="stable")[: flat.size * 6 // 10]] = 0
    expected = flat.reshape(array.shape)
    np.testing.assert_array_equal(model["w/kernel"].tensor.numpy(), expected[:, order])
    assert effect.changed == np.count_nonzero(expected != array)


@pytest.mark.parametrize("threads", ["1", "3"])
def test_the_manifest_says_the_same_for_any_threads(threads, tmp_path):
    surgery.save(Model((Weight("w/kernel", constant(LARGE)),)), npz=tmp_path / "in.npz")
    steps = [SCALE, *FOLLOWED["other axes"], {"shift": {"select": "**", "by": 1}}]
    recipe = {"surgery": 1, "load": "in.npz", "steps": steps, "export": [{"npz": "out.npz"}]}
    (tmp_path / "r.yaml").write_text(json.dumps(recipe))
    done = command("run", tmp_path / "r.yaml", "--threads", threads, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "r.run.json").read_text())["steps"]
    assert [step["changed"] for step in told][::3] == [LARGE.size, LARGE.size]
    assert told[0]["after"]["mean"] == told[1]["before"]["mean"]


def test_variables_that_are_no_weights_are_counted_too():
    from surgery.execution.observing import Observer

    slot = Weight("w/kernel/m", constant(np.ones(5)), state="optimizer")
    model = Model((), states=(slot,))
    observer = Observer()
    after = observer.watch(model, surgery.scale(model, {"state": "optimizer"}, by=2))
    assert after["w/kernel/m"].tensor.numpy().tolist() == [2] * 5
    assert observer.total().changed == 5


def test_a_rename_is_no_effect_where_a_name_was_another_one_s(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    surgery.save(dense_layers(["a", "a_1"], [3, 3, 3]), keras=tmp_path / "m.keras")
    recipe = {"surgery": 1, "name": "r", "load": "m.keras",
              "steps": [{"rename": {"select": "a*", "to": "a_1*"}}],
              "export": [{"keras": "o.keras"}]}  # fmt: skip
    ((_, effect),) = surgery.run(recipe).effects()
    assert effect.changed == 0
    assert effect.before.count == 0
