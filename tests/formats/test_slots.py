"""Which variables are an optimizer's: by names alone, and what a target leaves out of them."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

import surgery
from surgery.weights.model import Model
from surgery.weights.slot_names import of_optimizer, owner
from surgery.weights.tensor import constant
from surgery.weights.weight import Weight
from tests.conftest import command


@dataclass(frozen=True)
class Shaped:
    shape: tuple = (2, 2)


SCALARS = {"beta1_power", "beta2_power", "learning_rate", "iter", "momentum_rate", "global_step"}

NAMES = {  # variables, and those of them that are an optimizer's
    "Adam of TensorFlow 1": ("w w/Adam w/Adam_1", "w/Adam w/Adam_1"),
    "half of a set": ("w w/Adam", ""),
    "half of a set beside its power": ("w w/Adam beta1_power", "w/Adam beta1_power"),
    "not of all variables": ("w w/m w/v u u/m", ""),
    "a name of one's own": ("w w/LazyAdam w/LazyAdam_1", "w/LazyAdam w/LazyAdam_1"),
    "two optimizers": ("w w/Adam w/Adam_1 w/Adam_2 w/Adam_3",
                       "w/Adam w/Adam_1 w/Adam_2 w/Adam_3"),
    "Momentum": ("w w/Momentum u", "w/Momentum"),
    "RMSProp": ("w w/RMSProp w/RMSProp_1", "w/RMSProp w/RMSProp_1"),
    "Ftrl": ("w w/Ftrl w/Ftrl_1", "w/Ftrl w/Ftrl_1"),
    "BERT": ("b/w b/w/adam_m b/w/adam_v global_step", "b/w/adam_m b/w/adam_v"),
    "LAMB": ("w w/LAMB", "w/LAMB"),
    "Adafactor": ("a/w a/w_slot_vr a/w_slot_vc a/b a/b_slot_v",
                  "a/w_slot_vr a/w_slot_vc a/b_slot_v"),
    "OpenNMT": ("t/w optim/t/w/Adam optim/t/w/Adam_1 optim/beta1_power",
                "optim/t/w/Adam optim/t/w/Adam_1 optim/beta1_power"),
    "tf_keras": ("d/k training/Adam/d/k/m training/Adam/d/k/v training/Adam/iter",
                 "training/Adam/d/k/m training/Adam/d/k/v training/Adam/iter"),
    "SGD of tf_keras": ("k SGD/k/momentum SGD/learning_rate", "SGD/k/momentum SGD/learning_rate"),
    "Keras 2.11": ("d/k Adam/m/d/k Adam/v/d/k", "Adam/m/d/k Adam/v/d/k"),
    "optimize_loss": ("w OptimizeLoss/w/Momentum OptimizeLoss/learning_rate",
                      "OptimizeLoss/w/Momentum OptimizeLoss/learning_rate"),
    "Ftrl of TensorFlow 2": ("w w/accumulator w/linear", "w/accumulator w/linear"),
    "a shadow": ("w w/ExponentialMovingAverage", ""),
    "a layer's statistics": ("n/gamma n/moving_mean n/moving_mean/biased n/moving_variance", ""),
    "a layer's own words": ("cell cell/momentum cell/linear", ""),
    "a word without its variable": ("net/m net/v net/Momentum", ""),
    "trained itself": ("cell cell/m cell/v cell/m/Adam cell/m/Adam_1 cell/v/Adam cell/v/Adam_1",
                       "cell/m/Adam cell/m/Adam_1 cell/v/Adam cell/v/Adam_1"),
}  # fmt: skip


@pytest.mark.parametrize("case", NAMES)
def test_names(case):
    names, slots = (text.split() for text in NAMES[case])
    shapes = {n: Shaped(() if n.split("/")[-1] in SCALARS else (2, 2)) for n in names}
    assert of_optimizer(shapes, {}) == set(slots)


def test_shapes_and_what_tensorflow_trains():
    shapes = {"w": Shaped((2, 3)), "w/Momentum": Shaped((3,)), "u": Shaped(), "u/Adam": Shaped()}
    assert of_optimizer(shapes, {}) == set()
    assert of_optimizer(shapes, {"u/Adam": False}) == {"u/Adam"}


@pytest.mark.parametrize(
    ("slot", "of"),
    [("t/w/Adam", "t/w"), ("optim/t/w/Adam_1", "t/w"), ("t/w_slot_vr", "t/w"),
     ("Adam/m/t/w", "t/w"), ("beta1_power", None)],
)  # fmt: skip
def test_owner(slot, of):
    assert owner(slot, {"t/w", "other"}) == of


def checkpoint(folder, names, scalars=()):
    """A checkpoint by names: two floats each, and whole numbers."""
    floats = [Weight(n, constant(np.full(2, i, np.float32))) for i, n in enumerate(names.split())]
    whole = [Weight(name, constant(np.int64(7))) for name in scalars]
    surgery.save(Model((*floats, *whole)), checkpoint=folder / "c")


def run(folder, export, load=None):
    recipe = {"surgery": 1, "load": load or {"path": "c"}, "export": [export]}
    (folder / "r.yaml").write_text(json.dumps(recipe))
    return command("run", "r.yaml", cwd=folder)


def kept(folder):
    model = surgery.open(folder)
    return {weight.address for weight in (*model.weights, *model.states)}


SCHEDULED = "w w/Adam w/Adam_1 w/ExponentialMovingAverage"


@pytest.mark.parametrize(
    ("optimizer", "left"),
    [("keep", {"w", "w/Adam", "w/Adam_1", "w/ExponentialMovingAverage", "global_step"}),
     ("drop", {"w", "w/ExponentialMovingAverage", "global_step"}),
     ({"drop": True}, {"w", "w/ExponentialMovingAverage", "global_step"}),
     ({"drop": True, "global_step": "keep"}, {"w", "w/ExponentialMovingAverage", "global_step"}),
     ({"drop": True, "global_step": "drop"}, {"w", "w/ExponentialMovingAverage"})],
)  # fmt: skip
def test_optimizer_of_a_checkpoint(optimizer, left, tmp_path):
    checkpoint(tmp_path, SCHEDULED, ["global_step"])
    done = run(tmp_path, {"checkpoint": {"path": "o", "optimizer": optimizer}})
    assert done.returncode == 0, done.stderr
    assert kept(tmp_path / "o") == left
    if optimizer == "drop":
        assert (
            "note: checkpoint: variables left out: 2 (Adam, Adam_1): w/Adam, w/Adam_1"
            in done.stdout
        )
        assert command("verify", "r.run.json", cwd=tmp_path).returncode == 0


def test_ten_of_many_are_named(tmp_path):
    checkpoint(tmp_path, " ".join(f"w{i} w{i}/Momentum" for i in range(12)))
    done = run(tmp_path, {"checkpoint": {"path": "o", "optimizer": "drop"}})
    assert "left out: 12 (Momentum): w0/Momentum, " in done.stdout
    assert "w9/Momentum and 2 more" in done.stdout


def test_nothing_to_drop_is_said(tmp_path):
    checkpoint(tmp_path, "w w/ExponentialMovingAverage")
    done = run(tmp_path, {"checkpoint": {"path": "o", "optimizer": "drop"}})
    assert "no variable is recognised as an optimizer's, so none is left out" in done.stdout
    assert kept(tmp_path / "o") == {"w", "w/ExponentialMovingAverage"}


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [("dorp", "\"dorp\" is not allowed (did you mean 'drop'?); allowed: keep, drop"),
     ({"drop": False, "global_step": "drop"}, "global_step: drop requires drop: true"),
     ({"global_step": "no"}, '"no" is not allowed; allowed: keep, drop'),
     ({"slots": "drop"}, "unknown key 'slots'")],
)  # fmt: skip
def test_optimizer_is_checked(optimizer, message, tmp_path):
    checkpoint(tmp_path, "w")
    done = run(tmp_path, {"checkpoint": {"path": "o", "optimizer": optimizer}})
    assert done.returncode == 2
    assert message in done.stderr


def test_slots_do_not_keep_weights_out_of_hdf5(tmp_path):
    checkpoint(tmp_path, "l/w l/w/Adam l/w/Adam_1")
    assert run(tmp_path, {"hdf5": "o.hdf5"}).returncode == 0
    assert kept(tmp_path / "o.hdf5") == {"l/w"}
    select = {"path": "c", "select": ["**", {"state": "optimizer"}]}
    done = run(tmp_path, {"hdf5": "p.hdf5"}, select)
    assert done.returncode == 2
    assert "l/w/Adam is below another weight's address" in done.stderr


def test_slots_go_where_their_weights_go(tmp_path):
    checkpoint(tmp_path, "a/w optim/a/w/Adam optim/a/w/Adam_1 u u_slot_v")
    load = {"path": "c", "map": {"a/w": "b/x", "u": "b/u"}}
    assert run(tmp_path, {"checkpoint": "o"}, load).returncode == 0
    assert kept(tmp_path / "o") == {
        "b/x", "optim/b/x/Adam", "optim/b/x/Adam_1", "b/u", "b/u_slot_v",
    }  # fmt: skip


EMA = "**/ExponentialMovingAverage"
LOADS = {  # of a checkpoint with c/w, its shadow, and n/layer_norm_1/beta
    "select, then map": (
        {"select": [EMA, "n/**"], "map": {EMA: "**"}},
        {"c/w": "c/w/ExponentialMovingAverage", "n/layer_norm_1/beta": "n/layer_norm_1/beta"},
    ),
    "groups": (
        {"select": "n/**", "map": {r"re:(.*)/layer_norm(_\d+)?/(.*)": r"\3/\1/LayerNorm"}},
        {"beta/n/LayerNorm": "n/layer_norm_1/beta"},
    ),
    "into an architecture": (
        {"architecture": "m.npz", "select": EMA, "map": {EMA: "**"}},
        {"c/w": "c/w/ExponentialMovingAverage"},
    ),
    "into a part of an architecture": (
        {"architecture": "two.npz", "select": {"variable": "w"}}, {"c/w": "c/w"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LOADS)
def test_select_and_map(case, tmp_path):
    load, wanted = LOADS[case]
    checkpoint(tmp_path, "c/w c/w/ExponentialMovingAverage n/layer_norm_1/beta")
    np.savez(tmp_path / "m.npz", **{"c/w": np.zeros(2, np.float32)})
    np.savez(tmp_path / "two.npz", **{n: np.zeros(2, np.float32) for n in ("c/w", "d")})
    done = run(tmp_path, {"npz": "o.npz"}, {"path": "c", **load})
    assert done.returncode == 0, done.stderr
    numbers = {"c/w": 0, "c/w/ExponentialMovingAverage": 1, "n/layer_norm_1/beta": 2}
    found = {name: array[0] for name, array in np.load(tmp_path / "o.npz").items()}
    assert found == {name: numbers[source] for name, source in wanted.items()}
