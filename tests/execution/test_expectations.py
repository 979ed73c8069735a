"""expect: what holds lets the run end; what does not writes nothing and ends with 3."""

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest

import surgery
from surgery.architecture import Architecture
from surgery.expectations.base import EXPECTATIONS
from surgery.expectations.combined import WORDS
from tests.conftest import command, dense_model

RECIPE = """surgery: 1
load: m.keras
steps:
  - zero: {select: "*/kernel", lowest: 50%}
  - scale: {select: a/bias, by: 0}
expect:
  - EXPECTATION
export: [{keras: out/m.keras}]
"""
HOLD = [
    "any: [{exists: {select: c}}, {norm: {select: a/bias, at_most: 0}}]",
    "all: [{exists: {select: a}}, {not: {exists: {select: c}}}]",
    "not: {range: {select: a/kernel, min: 0}}",
    "not: {finite: {select: c}}",
    "equal: {select: b/bias, to: m.keras}",
    "equal: {to: m.keras, tolerance: 10}",
    "exists: {select: a/kernel}",
    "absent: {select: c}",
    'dtype: {select: "**", is: float32}',
    'sparsity: {select: "*/kernel", at_least: 50%, at_most: 0.5}',
    "sparsity: {select: a/bias, at_least: 1}",
    'finite: {select: "**"}',
    'matches: {select: "**", exactly: 4}',
    "matches: {select: nothing, exactly: 0}",
    "unchanged: {select: b/bias}",
    'changed: {select: ["*/kernel", a/bias]}',
    "shape: {select: a/kernel, is: [4, -1]}",
    'range: {select: "**", min: -10, max: 10}',
    "range: {select: a/bias, min: 0, max: 0}",
    "norm: {select: a/bias, at_most: 0}",
    "norm: {select: a/kernel, at_least: 0.001}",
    'parameters: {select: "**", exactly: 23}',
    "parameters: {select: a, at_least: 15, at_most: 15}",
    "layers: {select: {type: Dense}, exactly: 2}",
    "layers: {select: {type: BatchNormalization}, exactly: 0}",
    "layers: {select: a, at_least: 1, at_most: 1}",
    "flops: {at_least: 41, at_most: 41}",  # 3 * (2 * 4 + 1) + 2 * (2 * 3 + 1)
]
FAIL = [
    ("any: [{exists: {select: c}}, {norm: {select: a/bias, at_least: 1}}]",
     "expect[0].any: none of them holds: c matches no weight; the norm of a/bias is 0, expected"),
    ("all: [{exists: {select: a}}, {not: {exists: {select: b}}}]",
     "expect[0].all: exists holds, expected that it does not"),
    ("not: {finite: {select: a}}", "expect[0].not: finite holds, expected that it does not"),
    ("equal: {to: m.keras}", "expect[0].equal: a/kernel differs from that of "),
    ("equal: {select: a/bias, to: m.keras, tolerance: 0.001}", ", expected at most 0.001"),
    ("equal: {to: other.npz}", "a/kernel is not in "),
    ("equal: {to: other.npz}", "b/bias is [2], and [3] in "),
    ("equal: {to: other.npz}", "b/kernel differs from that of "),
    ("equal: {to: other.npz}", "by up to inf, expected at most 0"),
    ("exists: {select: c}", "expect[0].exists: c matches no weight"),
    ("absent: {select: a}", "expect[0].absent: a matches a/kernel, a/bias"),
    ("dtype: {select: a/bias, is: float16}", "a/bias is float32, expected float16"),
    ("sparsity: {select: a/kernel, at_least: 60%}",
     "expect[0].sparsity: a/kernel has 6 zeros of 12, expected at least 60%"),
    ("sparsity: {select: a/kernel, at_most: 40%}", "has 6 zeros of 12, expected at most 40%"),
    ("matches: {select: \"**\", at_least: 5}", "expect[0].matches: ** has 4 weights, expected at "
     "least 5"),
    ("matches: {select: \"**\", at_most: 3}", "has 4 weights, expected at most 3"),
    ("parameters: {select: a, exactly: 14}", "a has 15 parameters, expected exactly 14"),
    ("layers: {select: {type: Dense}, at_most: 1}",
     "expect[0].layers: {type: Dense} has 2 layers, expected at most 1"),
    ("flops: {at_most: 40}", "expect[0].flops: one example takes 41 FLOPs, expected at most 40"),
    ("flops: {at_least: 1.0e+9}", "one example takes 41 FLOPs, expected at least 1e+09"),
    ("unchanged: {select: a}", "a/kernel has changed"),
    ("unchanged: {select: a}", "a/bias has changed"),
    ("changed: {select: b}", "b/bias has not changed"),
    ("shape: {select: a, is: [4, 3]}", "a/bias is [3], expected [4, 3]"),
    ("range: {select: a/bias, min: 1}", "a/bias reaches 0, expected at least 1"),
    ("range: {select: a/bias, max: -1}", "a/bias reaches 0, expected at most -1"),
    ("norm: {select: a/bias, at_least: 1}", "the norm of a/bias is 0, expected at least 1"),
]  # fmt: skip

LIVE = {"metric", "output_change"}
"""What steps and running models measure: `tests/live` has it held and failed."""


def test_every_expectation_holds_once_and_fails_once():
    held = {row.partition(":")[0] for row in HOLD}
    failed = {row.partition(":")[0] for row, _ in FAIL}
    known = {*EXPECTATIONS.own(), *WORDS}
    assert {*held, *LIVE} == known, "HOLD has a row for each expectation"
    assert {*failed, "finite", *LIVE} == known, "FAIL has a row for each expectation"


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dense_model(tmp_path, "m.keras")
    other = {"b/bias": np.zeros(3), "b/kernel": np.full((3, 2), np.nan)}
    np.savez(tmp_path / "other.npz", **other)

    def run(expected, *arguments, steps=""):
        Path("r.yaml").write_text(RECIPE.replace("EXPECTATION", expected) + steps)
        return command("run", "r.yaml", *arguments)

    return run


def test_what_holds(run):
    done = run("\n  - ".join(HOLD))
    assert (done.returncode, done.stderr) == (0, "")
    assert Path("out/m.keras").is_file()
    assert run("\n  - ".join(HOLD), "--no-manifest", "--force").returncode == 0


@pytest.mark.parametrize(("expected", "message"), FAIL)
def test_what_does_not_hold(expected, message, run):
    done = run(expected)
    assert done.returncode == 3, done.stderr
    assert message in done.stderr
    assert done.stderr.startswith("r.yaml:7:")
    assert "Traceback" not in done.stderr
    assert not Path("out").exists()


def test_a_renamed_weight_is_unchanged_and_a_cast_one_is_not(run):
    steps = "  - rename: {select: b, to: c}\n  - cast: {select: a, to: float16}\n"
    held = ["unchanged: {select: c/bias}", "changed: {select: a}", "changed: {select: c/kernel}"]
    Path("r.yaml").write_text(
        RECIPE.replace("EXPECTATION", "\n  - ".join(held)).replace("expect:", steps + "expect:")
    )
    done = command("run", "r.yaml")
    assert (done.returncode, done.stderr) == (0, "")


def test_all_that_fails_is_said(run):
    done = run("\n  - ".join(expected for expected, _ in FAIL[-3:]))
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 3


def test_not_finite(run):
    Path("r.yaml").write_text(
        "surgery: 1\nload: m.keras\nsteps:\n  - scale: {select: a/kernel, by: 1.0e38}\n"
        "  - scale: {select: a/kernel, by: 1.0e38}\n"
        'expect:\n  - finite: {select: "**"}\n  - range: {select: a, max: 1}\n'
        "  - norm: {select: a/kernel, at_most: 1}\nexport: [{npy: out}]\n"
    )
    done = command("run", "r.yaml")
    assert done.returncode == 3
    assert "expect[0].finite: a/kernel has 12 elements that are infinite or NaN" in done.stderr
    assert "expect[2].norm: the norm of a/kernel is nan, expected at most 1" in done.stderr


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ("sparsity: {select: a}", "expect[0].sparsity: give at_least or at_most"),
        ("sparsity: {select: c, at_least: 1}", "expect[0].sparsity.select: c matches no weight"),
        ("sparse: {select: a}", "did you mean 'sparsity'"),
        ("{}", "an expectation is one key, and this one is empty"),
        ("{finite: {select: a}, norm: {select: a, at_most: 1}}", "this one has finite, norm"),
        ("shape: {select: a, is: x}", "expect[0].shape.is"),
    ],
)
def test_wrong_expectations(expected, message, run):
    done = run(expected)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_plan_says_what_headers_show_to_fail(run):
    run("matches: {select: a, exactly: 9}")
    assert command("plan", "r.yaml").returncode == 3


UNKNOWN = """surgery: 1
load: LOAD
expect: [{flops: {at_most: 1.0e+9}}]
export: [{npz: out.npz}]
"""


def test_flops_that_no_config_tells(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    surgery.save(surgery.open(dense_model(tmp_path)), npz="w.npz")
    Path("r.yaml").write_text(UNKNOWN.replace("LOAD", "w.npz"))
    done = command("run", "r.yaml")
    assert done.returncode == 3
    assert "its FLOPs are unknown, since no config lists the calls of its layers" in done.stderr


def test_flops_of_a_layer_of_ones_own_are_unknown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = surgery.open(dense_model(tmp_path))
    config = copy.deepcopy(dict(model.architecture.config))
    config["config"]["layers"][-1] |= {"module": "my.layers", "registered_name": "mine>Dense"}
    model = dataclasses.replace(model, architecture=Architecture(config))
    surgery.save(model, keras="m.keras")
    Path("r.yaml").write_text(UNKNOWN.replace("LOAD", "m.keras"))
    done = command("run", "r.yaml")
    assert done.returncode == 3
    assert "its FLOPs are unknown, since those of b are" in done.stderr
