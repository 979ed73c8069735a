"""Writing one model to its targets, without a recipe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from surgery.errors import FormatError
from surgery.execution.plan import default_threads, path_problem, target_plan
from surgery.execution.progress import Silent
from surgery.execution.writing import load_checks, write
from surgery.formats.base import Format
from surgery.weights.model import Model


def save(model: Model, targets: Iterable[tuple[Format, Path]]) -> None:
    """Write a model; raises FormatError, and writes nothing, where a format cannot hold it."""
    plans = []
    for form, path in targets:
        problems = [*form.refusals(model)]
        if problem := path_problem(path, form, model.inputs):
            problems.append(problem)
        if problems:
            raise FormatError(f"{form.name}: {problems[0]}")
        plans.append(target_plan(form, path, model))

    def conclude(_temporary: Mapping[Path, Path], _sums: Mapping[int, str]) -> Mapping[Path, Path]:
        for check in model.checks:
            check()
        return {}

    load_checks(plans)
    write(plans, default_threads(), Silent(), conclude)
