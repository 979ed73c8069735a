"""The metrics of a run by the names of its steps."""

import pytest

from surgery.execution.metrics import is_lower_better, named

A, B, C = {"loss": 1.0}, {"loss": 2.0}, {"loss": 3.0, "accuracy": 0.5}

NAMED = [
    ([], {}),
    ([("evaluate", None, A)], A),
    ([("train", None, C), ("evaluate", None, A)], {"loss": 1.0, "accuracy": 0.5}),
    ([("evaluate", "val", A), ("evaluate", "test", B)],
     {"val/loss": 1.0, "test/loss": 2.0, "loss": 2.0}),
    ([("evaluate", "val", A), ("train", None, C), ("evaluate", "val", B)],
     {"val/loss": 1.0, "val 2/loss": 2.0, "loss": 2.0, "accuracy": 0.5}),
    ([("evaluate", None, A), ("evaluate", None, B)],
     {"evaluate 1/loss": 1.0, "evaluate 2/loss": 2.0, "loss": 2.0}),
]  # fmt: skip


@pytest.mark.parametrize(("found", "expected"), NAMED)
def test_no_step_takes_the_place_of_another(found, expected):
    assert named(found) == expected


@pytest.mark.parametrize(
    ("metric", "expected"),
    [("val/loss", True), ("error free/accuracy", False), ("mse", True), ("auc", False)],
)
def test_the_step_s_name_does_not_say_which_value_is_better(metric, expected):
    assert is_lower_better(metric) is expected
