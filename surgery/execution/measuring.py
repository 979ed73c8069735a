"""Measurements outside of runs: the sensitivity to each weight, and the step that broke a model."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from surgery.declared.data import Data
from surgery.errors import SurgeryError, UsageError, did_you_mean
from surgery.execution.live import LiveRunner
from surgery.execution.live_steps import do_step
from surgery.execution.planning import plan_step
from surgery.recipe.language import Recipe, Step
from surgery.storage.replacing import write_whole
from surgery.storage.states import named_states
from surgery.weights.model import Model
from surgery.weights.selectors import Select

LEVELS: Mapping[str, Sequence[str]] = {
    "zero": ("0.2", "0.4", "0.6", "0.8", "0.9", "0.95"),
    "noise": ("0.05", "0.1", "0.2", "0.5", "1", "2"),
    "bits": ("8", "6", "5", "4", "3", "2"),
}
"""The levels by kind: shares of zeros, relative standard deviations of noise, bits."""


@dataclass(frozen=True)
class Point:
    """The metrics with one weight changed at one level; an empty weight is the unchanged model."""

    weight: str
    level: str
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Measurement:
    """The data, batch size and compile arguments of a measurement."""

    data: Data
    batch_size: int
    compile: Mapping[str, Any]


def sensitivity(
    runner: LiveRunner,
    model: Model,
    how: Measurement,
    select: Select,
    kind: str,
    levels: Sequence[str],
    seed: int,
    table: Path | None,
) -> list[Point]:
    """Measure the model with each selected weight at each level.

    With a table (.csv), every result is appended to it at once, and results that it already has
    for the same model and data are reused. Raises UsageError.
    """
    weights = [w.address for w in select.weights(model) if w.tensor.dtype.kind == "f"]
    if not weights:
        raise UsageError(f"{select} selects no floating weight")
    wanted = [("", ""), *((weight, level) for weight in weights for level in levels)]
    run = _run_id(model, how, kind, seed)
    known = {(p.weight, p.level): p for p in _kept(table, run)} if table else {}
    left = [point for point in wanted if point not in known]

    def heard(event: str, facts: Mapping[str, Any]) -> None:
        if event == "point":
            point = Point(facts["weight"], facts["level"], facts["metrics"])
            known[point.weight, point.level] = point
            if table is not None:
                _append(table, run, kind, point)

    if left:
        if table is not None:
            _rewrite(table, run, kind, [known[point] for point in wanted if point in known])
        runner.listen(heard)
        runner.call(
            "sensitivity",
            model,
            data=how.data,
            batch_size=how.batch_size,
            compile=how.compile,
            kind=kind,
            points=left,
            seed_=seed,
        )
    return [known[point] for point in wanted]


def _run_id(model: Model, how: Measurement, kind: str, seed: int) -> str:
    """Return a hash of all that the results depend on."""
    states = named_states([*model.inputs, *how.data.inputs()])
    facts = [states, repr(how), kind, seed, model.origin, [w.address for w in model.weights]]
    return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()[:12]


_COLUMNS = ("run", "kind", "weight", "level")


def _kept(table: Path, run: str) -> Iterator[Point]:
    """Yield the points that a table has of the same measurement; raises UsageError."""
    if not table.exists():
        return
    with table.open(newline="", encoding="utf-8") as file:
        whole = [
            line for line in file if line.endswith("\n")
        ]  # a killed run may leave a partial line
        reader = csv.DictReader(whole)
        if tuple(reader.fieldnames or ())[:4] != _COLUMNS:
            raise UsageError(f"{table} is not a table of sensitivity; choose another file")
        for row in reader:
            values = {k: v for k, v in row.items() if k not in _COLUMNS}
            if row["run"] == run and values and all(values.values()):
                metrics = {name: float(value) for name, value in values.items()}
                yield Point(row["weight"], row["level"], metrics)


def _rewrite(table: Path, run: str, kind: str, points: Sequence[Point]) -> None:
    """Write the table again with the known points."""
    table.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    for point in points:
        _write(text, run, kind, point)
    write_whole(table, text.getvalue().encode())


def _append(table: Path, run: str, kind: str, point: Point) -> None:
    """Append a row to the table, a CSV file; a new table begins with a header."""
    with table.open("a", newline="", encoding="utf-8") as file:
        _write(file, run, kind, point)


def _write(file: TextIO, run: str, kind: str, point: Point) -> None:
    writer = csv.writer(file, lineterminator="\n")
    if not file.tell():
        writer.writerow([*_COLUMNS, *point.metrics])
    writer.writerow([run, kind, point.weight, point.level, *point.metrics.values()])


@dataclass(frozen=True)
class Verdict:
    """The step that broke a model, counted from 1; None if no step did.

    `measured` maps a number of steps to the metric after them, as far as measured.
    """

    step: int | None
    measured: Mapping[int, float]


def bisect(
    runner: LiveRunner, recipe: Recipe, how: Measurement, metric: str, drop: float, lower: bool
) -> Verdict:
    """Find the first step after which the metric is worse by more than `drop` than before.

    Steps are bisected like commits: the metric is assumed not to recover. `lower` is whether lower
    values are better.
    """
    models = list(_models(recipe, runner))
    measured: dict[int, float] = {}

    def is_broken(count: int) -> bool:
        measured[count] = _metric(runner, models[count], how, metric)
        worse = measured[0] - measured[count]
        # NaN counts as broken.
        return not (-worse if lower else worse) <= drop

    is_broken(0)
    if not is_broken(len(models) - 1):
        return Verdict(None, measured)
    whole, broken = 0, len(models) - 1
    while broken - whole > 1:
        middle = (whole + broken) // 2
        if is_broken(middle):
            broken = middle
        else:
            whole = middle
    return Verdict(broken, measured)


def _models(recipe: Recipe, runner: LiveRunner) -> Iterator[Model]:
    """Yield the loaded model, then the model after each step."""
    model = recipe.load.opened(recipe.seed)
    yield model
    for step in recipe.steps:
        model = _after(recipe, step, model, runner)
        yield model


def _after(recipe: Recipe, step: Step, model: Model, runner: LiveRunner) -> Model:
    try:
        return plan_step(step, model, partial(do_step, runner=runner))[1]
    except SurgeryError as error:
        problem = recipe.document.problem(step.place, str(error))
        raise SurgeryError(problem.text(recipe.file)) from error


def _metric(runner: LiveRunner, model: Model, how: Measurement, metric: str) -> float:
    found = runner.call(
        "evaluate", model, data=how.data, batch_size=how.batch_size, compile=how.compile
    )["metrics"]
    return picked(found, metric)


def picked(found: Mapping[str, float], metric: str) -> float:
    """Return one of the metrics; raises UsageError if it was not measured."""
    if metric not in found:
        hint = did_you_mean(metric, found)
        raise UsageError(
            f"the metric {metric!r} is not measured{hint}; there are {', '.join(found)}"
        )
    return found[metric]
