"""`check` between steps: what holds there, in plans and while weights are read."""

import json

import numpy as np
import pytest

import surgery
from surgery.architecture import Architecture
from surgery.errors import ExpectationError, RecipeError
from surgery.weights.model import Carried, Model
from surgery.weights.tensor import constant
from surgery.weights.weight import Weight
from tests.conftest import command, dense_model

ZERO = {"zero": {"select": "a/kernel"}}
RESTORE = {"set": {"select": "a/kernel", "to": 1}}


@pytest.fixture
def run(tmp_path):
    dense_model(tmp_path, "m.keras")

    def run(*steps, plan=False, export=None):
        recipe = {"surgery": 1, "load": "m.keras", "steps": list(steps),
                  "export": export or [{"npz": "o.npz"}]}  # fmt: skip
        (tmp_path / "r.yaml").write_text(json.dumps(recipe))
        return (surgery.plan if plan else surgery.run)(tmp_path / "r.yaml")

    return run


def check(**expectation):
    return {"check": [expectation]}


HOLD = [
    (check(exists={"select": "a"}),),
    (check(absent={"select": "z/**"}),),
    (check(dtype={"select": "**", "is": "float32"}), {"cast": {"select": "**", "to": "float16"}},
     check(dtype={"select": "**", "is": "float16"})),
    (check(shape={"select": "a/kernel", "is": [4, 3]}),
     {"transpose": {"select": "a/kernel"}}, check(shape={"select": "a/kernel", "is": [3, 4]})),
    (check(exists={"select": "a"}), {"rename": {"select": "a", "to": "c"}},
     check(absent={"select": "a"})),
    # Values are those at that point of the chain.
    (ZERO, check(sparsity={"select": "a/kernel", "at_least": "100%"}), RESTORE,
     check(range={"select": "a/kernel", "min": 1, "max": 1})),
    ({"zero": {"select": "a/kernel", "slice": "[0]"}},
     check(sparsity={"select": "a/kernel", "at_most": "25%"}), {"transpose": {"select": "a/kernel"}}
     ),
]  # fmt: skip


@pytest.mark.parametrize("steps", HOLD, ids=range(len(HOLD)))
def test_what_holds(steps, run, tmp_path):
    run(*steps)
    assert (tmp_path / "o.npz").is_file()


AT_PLAN = [
    ((check(exists={"select": "z"}),), "steps[0].check[0].exists: z matches no weight"),
    ((ZERO, check(absent={"select": "a"})), "steps[1].check[0].absent: a matches a/kernel, a/bias"),
    ((check(dtype={"select": "b/bias", "is": "float16"}),),
     "b/bias is float32, expected float16"),
    ((check(exists={"select": "a"}), {"rename": {"select": "a", "to": "c"}},
      check(exists={"select": "a"})), "steps[2].check[0].exists: a matches no weight"),
]  # fmt: skip


@pytest.mark.parametrize(("steps", "said"), AT_PLAN)
def test_what_headers_tell_fails_in_the_plan(steps, said, run):
    with pytest.raises(ExpectationError) as error:
        run(*steps, plan=True)
    assert said in str(error.value)


def test_values_fail_in_the_run_and_nothing_is_written(run, tmp_path):
    steps = (ZERO, check(norm={"select": "a/kernel", "at_least": 1}), RESTORE)
    run(*steps, plan=True)
    with pytest.raises(
        ExpectationError, match=r"steps\[1\].check\[0\].norm: the norm of a/kernel "
    ):
        run(*steps)
    assert not (tmp_path / "o.npz").exists()
    assert command("run", tmp_path / "r.yaml").returncode == 3


def test_a_weight_that_later_steps_drop_is_checked(run, tmp_path):
    np.savez(tmp_path / "m.npz", **{"a/kernel": np.zeros(4), "b": np.ones(2)})
    steps = (check(norm={"select": "a/kernel", "at_least": 1}), {"delete": {"select": "a/kernel"}})
    recipe = {"surgery": 1, "load": str(tmp_path / "m.npz"), "steps": list(steps),
              "export": [{"npz": str(tmp_path / "o.npz")}]}  # fmt: skip
    with pytest.raises(ExpectationError, match="the norm of a/kernel is 0"):
        surgery.run(recipe)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"check": []}, "the list is empty"),
        ({"check": [{"unchanged": {"select": "a"}}]}, "it is about the result; put it under expe"),
        ({"check": [{"metric": {"name": "loss", "at_most": 1}}]}, "it is about the result"),
        ({"check": [{"exist": {"select": "a"}}]}, "unknown key 'exist' (did you mean 'exists'?)"),
        ({"check": [{"finite": {"select": "z"}}]}, "steps[0].check: finite: z matches no weight"),
        ({"check": [{"finite": {"select": "a"}}], "zero": {"select": "a"}}, "exactly one op"),
        ({"check": [{"exists": {"select": "a"}, "absent": {"select": "b"}}]}, "one key"),
    ],
)
def test_checks_that_are_refused(step, said, run):
    with pytest.raises(RecipeError) as error:
        run(step, plan=True)
    assert said in str(error.value)


def test_it_is_told_what_was_checked(run, tmp_path):
    run(ZERO, check(finite={"select": "a"}))
    planned = command("plan", tmp_path / "r.yaml").stdout
    assert "2. check finite 2 weights nothing" in " ".join(planned.split())
    done = command("run", tmp_path / "r.yaml", "--force").stdout
    assert "2. check finite: 2 weights, checked" in done


def test_a_check_changes_no_bytes(run, tmp_path):
    run(ZERO)
    first = (tmp_path / "o.npz").read_bytes()
    run(ZERO, check(finite={"select": "**"}), check(exists={"select": "**"}))
    assert (tmp_path / "o.npz").read_bytes() == first


def test_a_weight_without_elements(tmp_path):
    np.savez(tmp_path / "e.npz", a=np.zeros((0, 3), np.float32), b=np.ones(4, np.float32))
    recipe = {"surgery": 1, "load": str(tmp_path / "e.npz"),
              "steps": [check(finite={"select": "**"})],
              "export": [{"npz": str(tmp_path / "o.npz")}]}  # fmt: skip
    surgery.run(recipe)
    assert (tmp_path / "o.npz").is_file()


def test_a_check_is_no_change(run, tmp_path):
    """It leaves alone what the manifest says of the weights that steps changed."""
    run(ZERO)
    alone = json.loads((tmp_path / "r.run.json").read_text())["sparsity"]
    run(ZERO, check(finite={"select": "**"}), export=[{"npz": "p.npz"}])
    assert json.loads((tmp_path / "r.run.json").read_text())["sparsity"] == alone == 1.0


def test_a_missing_model_of_equal_is_told_where_it_stands(tmp_path):
    dense_model(tmp_path, "m.keras")
    (tmp_path / "r.yaml").write_text(
        "surgery: 1\nload: m.keras\nexpect:\n  - equal: {to: missing.keras}\n"
        "export:\n  - npz: o.npz\n"
    )
    with pytest.raises(RecipeError, match=r"r.yaml:4:.*expect\[0\].equal.to: .*missing.keras"):
        surgery.plan(tmp_path / "r.yaml")


def test_whole_numbers_are_told_apart_where_floats_are_not(tmp_path):
    for name, number in (("a", 2**62), ("b", 2**62 + 1)):
        np.savez(tmp_path / f"{name}.npz", n=np.array([number, -(2**63)], np.int64))
    recipe = {"surgery": 1, "load": str(tmp_path / "a.npz"),
              "expect": [{"equal": {"to": str(tmp_path / "b.npz")}}],
              "export": [{"npz": str(tmp_path / "o.npz")}]}  # fmt: skip
    with pytest.raises(ExpectationError, match=r"n differs from that of .* by up to 1"):
        surgery.run(recipe)


def old_lstm(path):
    """An `.h5` of Keras 2, whose gates are scaled where its config is upgraded."""
    config = {"class_name": "Sequential", "config": {"name": "net", "layers": [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 2, 2], "name": "x",
                                                "dtype": "float32"}},
        {"class_name": "LSTM", "config": {"name": "l", "units": 1, "use_bias": False,
                                          "recurrent_activation": "hard_sigmoid",
                                          "activation": "tanh", "dtype": "float32"}},
    ]}}  # fmt: skip
    architecture = Architecture(config)
    values = [np.full((2, 4), np.nan, np.float32), np.ones((1, 4), np.float32)]
    weights = [
        Weight(variable.address, constant(array), (), True, True)
        for (_, variable), array in zip(architecture.root.weights(), values, strict=True)
    ]
    carried = Carried(keras_version="2.15.0", backend="tensorflow")
    surgery.save(Model(tuple(weights), architecture, carried), h5=path)


@pytest.mark.parametrize(
    ("expectation", "message"),
    [
        ("finite: {select: l}", "infinite or NaN"),
        ("equal: {to: other.npz}", "differs from that of"),
    ],
)
def test_an_expectation_of_a_weight_that_no_target_stores_as_it_is(expectation, message, tmp_path):
    old_lstm(tmp_path / "m.h5")
    ones = {"l/lstm_cell/kernel": np.ones((2, 4)), "l/lstm_cell/recurrent_kernel": np.ones((1, 4))}
    np.savez(tmp_path / "other.npz", **ones)
    (tmp_path / "r.yaml").write_text(
        f"surgery: 1\nload: m.h5\nexpect:\n  - {expectation}\n"
        "export:\n  - keras: {path: o.keras, check: never}\n"
    )
    with pytest.raises(ExpectationError, match=message):
        surgery.run(tmp_path / "r.yaml")


def test_an_upgraded_config_is_checked_after_a_step_that_changes_layers(tmp_path):
    old_lstm(tmp_path / "m.h5")
    (tmp_path / "r.yaml").write_text(
        "surgery: 1\nload: m.h5\nsteps:\n  - prefix: {with: t_}\n"
        "export:\n  - keras: o.keras\n  - h5: o.h5\n"
    )
    plan = surgery.plan(tmp_path / "r.yaml")
    assert all(target.check is not None for target in plan.targets)


def test_a_plan_that_measures_knows_nothing_after_a_training(tmp_path):
    dense_model(tmp_path, "m.keras")
    np.savez(tmp_path / "d.npz", x=np.ones((2, 4)), y=np.ones((2, 2)))
    (tmp_path / "r.yaml").write_text(
        "surgery: 1\nload: m.keras\nsteps:\n"
        "  - train: {data: {npz: d.npz, x: x, y: y}, epochs: 1, loss: mse, optimizer: sgd}\n"
        "  - factorize: {select: a, energy: 50%}\nexport:\n  - keras: o.keras\n"
    )
    done = command("plan", tmp_path / "r.yaml", "--measure")
    assert done.returncode == 2
    assert "--measure: the weights after train" in done.stderr
