"""`check` between steps: what holds there, in plans and while weights are read."""

import json

import numpy as np
import pytest

import surgery
from surgery.errors import ExpectationError, RecipeError
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
