"""Planning, running and sweeping of recipes from Python."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surgery.api._calls import Logged, as_a, logger, overrides
from surgery.errors import UsageError
from surgery.execution import execute as executed
from surgery.execution import plan as planned
from surgery.execution.converting import conversion
from surgery.execution.planning import make_plan
from surgery.live.permission import code_allowed
from surgery.recipe.language import Recipe
from surgery.recipe.parts import recipe_text
from surgery.recipe.reading import RecipeFile, read_recipe, recipe_from
from surgery.report import runs as run_reports
from surgery.report import sweeps as sweep_reports
from surgery.sweeps.folder import DONE, SweepFolder
from surgery.sweeps.local import LocalSweep, free_memory
from surgery.sweeps.planning import plan_sweep
from surgery.sweeps.status import RunStatus, statuses
from surgery.sweeps.work import settled

Given = str | Path | Mapping[str, Any]
"""A recipe: its file, or the mapping in such a file."""


class Plan(planned.Plan):
    """The plan of a run; `str()` gives the output of `surgery plan`."""

    def __str__(self) -> str:
        return run_reports.plan_text(self)


class Result(executed.Result):
    """The result of a run; `str()` gives the output of `surgery run`."""

    def __str__(self) -> str:
        return run_reports.result_text(self, False)


@dataclass(frozen=True, repr=False)
class Sweep:
    """The runs of a sweep; `str()` gives the output of `surgery sweep status`.

    Attributes:
       folder: the folder of their records and logs.
       runs: the status of every run.
    """

    folder: Path
    runs: tuple[RunStatus, ...]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of `surgery sweep table`: values, metrics, bytes and seconds of each run."""
        return sweep_reports.rows(self.runs)

    @property
    def failed(self) -> tuple[RunStatus, ...]:
        """The runs that are not done."""
        return tuple(run for run in self.runs if run.state != DONE)

    def __str__(self) -> str:
        return sweep_reports.status_text(self.runs, SweepFolder(self.folder))

    def __repr__(self) -> str:
        return f"<Sweep {self.folder}: {sweep_reports.counts_text(self.runs)}>"


def plan(
    recipe: Given,
    /,
    params: Mapping[str, Any] | None = None,
    *,
    threads: int | None = None,
    allow_code: bool = False,
    **more: Any,
) -> Plan:
    """Plan a recipe from headers alone; nothing is written.

    Args:
        recipe: a file, or a mapping with the contents of such a file; paths in a mapping are
            relative to the working folder.
        params: values of the recipe's parameters.
        threads: the number of threads of the run; default: the number of cores, at most four.
        allow_code: permit code that the recipe names, or that a model file contains, to run.
        more: more values of parameters, by keyword.

    Raises RecipeError with all mistakes and their positions.
    """
    with code_allowed(allow_code):
        return as_a(Plan, make_plan(_read(recipe, overrides(params, more)), threads))


def run(
    recipe: Given,
    /,
    params: Mapping[str, Any] | None = None,
    *,
    threads: int | None = None,
    progress: bool = False,
    allow_code: bool = False,
    **more: Any,
) -> Result:
    """Run a recipe; all of its targets are written, or none.

    Args:
        recipe: a file, or a mapping with the contents of such a file; paths in a mapping are
            relative to the working folder.
        params: values of the recipe's parameters.
        threads: the number of threads; default: the number of cores, at most four.
        progress: show a progress bar on stderr. Events are always logged to the logger `surgery`.
        allow_code: permit code that the recipe names, or that a model file contains, to run.
        more: more values of parameters, by keyword.

    Returns the result: `metrics`, `outputs`, and `manifest`, the path of the manifest.

    Raises RecipeError with all mistakes and their positions, ExpectationError if an expectation
    fails, and SurgeryError if the run fails.
    """
    with code_allowed(allow_code):
        read = _read(recipe, overrides(params, more))
        made = make_plan(read, threads)
        with Logged(read.name, progress) as bar:
            return as_a(Result, executed.execute(made, bar))


def convert(
    source: str | Path,
    target: str | Path,
    *,
    to: str | None = None,
    select: Any = None,
    architecture: str | Path | None = None,
    for_: str | None = None,
    threads: int | None = None,
    progress: bool = False,
) -> Result:
    """Write the model in one file as another format, as `surgery convert` does.

    Args:
        source: the file or folder to read.
        target: the file or folder to write.
        to: the format, if the target's suffix does not determine it.
        select: a selector, for only some of the weights.
        architecture: the model whose weights the source holds.
        for_: `keras2` to write an .h5 file for tf_keras and TensorFlow 2.12 to 2.15.
        threads: the number of threads; default: the number of cores, at most four.
        progress: show a progress bar on stderr.
    """
    made = conversion(str(source), Path(target), to, select, architecture, for_, threads)
    with Logged("convert", progress) as bar:
        return as_a(Result, executed.execute(made, bar, with_manifest=False))


def sweep(
    recipe: str | Path,
    /,
    params: Mapping[str, Any] | None = None,
    *,
    folder: str | Path | None = None,
    jobs: int | None = None,
    threads: int = 1,
    allow_code: bool = False,
    **more: Any,
) -> Sweep:
    """Do the runs of a recipe's matrix that are not done yet, on this machine.

    Args:
        recipe: a file; a mapping is not possible, since worker processes read the recipe.
        params: values of the recipe's parameters.
        folder: the sweep's folder; default: FILE.sweep beside FILE.yaml.
        jobs: the number of parallel runs; default: the number of cores.
        threads: the number of threads of each run.
        allow_code: permit code that the recipe names, or that a model file contains, to run.
        more: more values of parameters, by keyword.

    Returns the states of all runs. Failed runs are logged and do not raise an exception.
    Raises RecipeError with all mistakes, before any run starts.
    """
    if isinstance(recipe, Mapping):
        raise UsageError("surgery.sweep takes a recipe's file, which the processes of a sweep read")
    with code_allowed(allow_code):
        file = RecipeFile.read(Path(recipe), overrides(params, more))
        into = SweepFolder.of(file, Path(folder) if folder is not None else None)
        began = time.time()
        runs = plan_sweep(file, threads).runs
        into.begin(file, file.overrides, "local", {})
        into.resume(began)
        todo = [run for run in runs if settled(into, run.recipe, run.id) is None]
        local = LocalSweep(into, jobs or planned.cores(), threads, free_memory(), logger.info)
        for _, record in local.do(todo):
            (logger.info if record.is_done else logger.error)(sweep_reports.ended_text(record))
    return Sweep(into.path, tuple(statuses(into)))


def _read(recipe: Given, params: Mapping[str, Any]) -> Recipe:
    if isinstance(recipe, Mapping):
        return recipe_from(recipe_text(recipe).encode(), "recipe", Path(), params)
    return read_recipe(Path(recipe), params)
