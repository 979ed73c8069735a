"""Recipes from Python: planned, run, converted and swept."""

import json
import logging

import numpy as np
import pytest

import surgery
from surgery.api import recipes
from surgery.sweeps.folder import SweepFolder
from surgery.sweeps.planning import plan_sweep
from tests.conftest import command, dense_model


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    dense_model(tmp_path, "m.keras")
    monkeypatch.chdir(tmp_path)
    return {
        "surgery": 1,
        "name": "scaled",
        "params": {"by": 2, "where": ["a"], "all": False},
        "load": "m.keras",
        "steps": [{"scale": {"select": "${where}", "by": "${by}", "allow_empty": "${all}"}}],
        "export": [{"npz": "out.npz"}],
    }


def test_a_plan_is_shown_and_short(recipe):
    plan = surgery.plan(recipe, threads=1)
    assert (len(plan.steps), plan.threads) == (1, 1)
    assert "1. scale [a]  2 weights  15 of 15" in str(plan)
    assert repr(plan).startswith("<Plan of scaled: 1 steps, 1 targets, ")
    assert not (plan.recipe.home / "out.npz").exists()


@pytest.mark.parametrize(
    "given",
    [
        {"by": 3, "where": ["b/bias"], "all": True},
        {"by": np.float32(3), "where": ("b/bias",), "all": np.bool_(True)},
        {"by": "3", "where": "[b/bias]", "all": "true"},
    ],
)
def test_parameters_are_values_of_python(recipe, given, tmp_path):
    before = surgery.open("m.keras")["b/bias"].numpy()
    by_mapping = surgery.run(recipe, given)
    by_keyword = surgery.run(recipe, params={}, **given)
    for result in (by_mapping, by_keyword):
        assert result.plan.recipe.params == {"by": 3, "where": ["b/bias"], "all": True}
    assert np.array_equal(np.load("out.npz")["b/bias"], 3 * before)


@pytest.mark.parametrize(
    ("default", "value"),
    [
        (None, "12"), (None, 12), (None, "true"), (None, True), (None, "null"), (None, "[1]"),
        (None, [1]), (None, '"a"'), (None, 'a"b'), (None, "\U0001f600\n"), (None, "1e-3"),
        ("${all}", "12"), ("${all}", "[1]"), ("${all}", [1]), ("text", "12"), ("text", '"12"'),
        ("text", 12), ("text", None), ("text", ["a"]), ({}, {"a": "1"}), ([], ["1"]),
    ],
)  # fmt: skip
def test_a_parameter_keeps_the_type_that_python_gave(recipe, tmp_path, default, value):
    recipe["params"]["p"] = default
    found = surgery.plan(recipe, p=value).recipe.params["p"]
    assert (found, type(found)) == (value, type(value))
    recipe["matrix"] = {"of": [1]}
    (tmp_path / "s.yaml").write_text(json.dumps(recipe))
    swept = surgery.sweep("s.yaml", p=value, jobs=1)
    found = SweepFolder(swept.folder).recipe_file().run(0).params["p"]
    assert (found, type(found)) == (value, type(value))


def test_a_sweep_goes_on_that_the_command_line_began(recipe, tmp_path):
    recipe["matrix"] = {"of": [1]}
    (tmp_path / "s.yaml").write_text(json.dumps(recipe))
    given = ["-p", "by=3", "-p", "all=true", "-p", 'where=["b"]']
    done = command("sweep", "s.yaml", *given, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    surgery.sweep("s.yaml", by=3, all=True, where=["b"], jobs=1)


def test_a_result_tells_what_was_done(recipe, tmp_path):
    result = surgery.run(recipe)
    assert [written.path.name for written in result.outputs] == ["out.npz"]
    assert (result.manifest.name, dict(result.metrics)) == ("scaled.run.json", {})
    assert repr(result).startswith("<Result of scaled: wrote out.npz in ")
    assert "1. scale [a]: 2 weights, 15 of 15 elements changed" in str(result)
    assert all(len(repr(part)) < 100 for part in (result.plan, *result.plan.steps,
               result.plan.recipe, *result.plan.targets))  # fmt: skip


def test_a_run_is_logged(recipe, caplog, capsys):
    recipe["export"].append({"csv": "out.csv"})
    recipe["steps"].append({"freeze": {"select": "a"}})
    with caplog.at_level(logging.INFO, "surgery"):
        surgery.run(recipe)
    said = [record.getMessage() for record in caplog.records if record.name == "surgery"]
    assert any(line.startswith("scaled: wrote format=npz path=out.npz bytes=") for line in said)
    notes = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    note = "freeze affects no target: npz and csv store weights only"
    assert notes == [f"scaled: note message={note}"]
    assert capsys.readouterr() == ("", "")


def test_code_runs_only_where_it_is_allowed(recipe, tmp_path, monkeypatch):
    monkeypatch.delenv("SURGERY_ALLOW_CODE", raising=False)
    (tmp_path / "own.py").write_text("def make():\n    raise ValueError('it runs')\n")
    recipe["load"] = {"build": "own:make"}
    with pytest.raises(surgery.SurgeryError, match="runs only with --allow-code"):
        surgery.run(recipe)
    with pytest.raises(surgery.SurgeryError, match="it runs"):
        surgery.run(recipe, allow_code=True)
    with pytest.raises(surgery.SurgeryError, match="runs only with --allow-code"):
        surgery.plan(recipe)


def test_convert(recipe):
    result = surgery.convert("m.keras", "part.npz", select="a/*", threads=1)
    assert result.manifest is None
    assert {*np.load("part.npz")} == {"a/kernel", "a/bias"}
    with pytest.raises(surgery.UsageError, match="what has no suffix of a known format"):
        surgery.convert("m.keras", "what")


def test_a_sweep_has_a_row_for_each_run(recipe, tmp_path):
    (tmp_path / "s.yaml").write_text(
        "surgery: 1\nload: m.keras\nparams: {of: 2}\nmatrix: {by: [2, -1, 1.e+39]}\n"
        'steps: [{scale: {select: a, by: "${by}"}}]\nexpect: [{finite: {select: a}}]\n'
        'export: [{npz: "s${of}-${by}.npz"}]\n'
    )
    swept = surgery.sweep("s.yaml", of=5, jobs=1)
    assert [(row["by"], row["state"]) for row in swept.rows][:2] == [(2, "done"), (-1, "done")]
    assert [run.state for run in swept.failed] == ["failed"]
    assert (tmp_path / "s5-2.npz").is_file()
    assert repr(swept) == "<Sweep s.sweep: 3 runs: 2 done, 1 failed>"
    assert str(swept).startswith("3 runs: 2 done, 1 failed")
    with pytest.raises(surgery.UsageError, match="takes a recipe's file"):
        surgery.sweep(recipe)


def test_a_sweep_that_is_cancelled_while_it_is_planned_stays_so(recipe, tmp_path, monkeypatch):
    (tmp_path / "s.yaml").write_text(
        "surgery: 1\nload: m.keras\nmatrix: {by: [2, 3]}\n"
        'steps: [{scale: {select: a, by: "${by}"}}]\nexport: [{npz: "s-${by}.npz"}]\n'
    )
    surgery.sweep("s.yaml", jobs=1)

    def cancelled(*arguments):
        plan = plan_sweep(*arguments)
        SweepFolder(tmp_path / "s.sweep").stop()
        return plan

    monkeypatch.setattr(recipes, "plan_sweep", cancelled)
    surgery.sweep("s.yaml", jobs=1)
    assert SweepFolder(tmp_path / "s.sweep").is_stopped
