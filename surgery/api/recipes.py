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
    """The plan of a run; its text is that of `surgery plan`."""

    def __str__(self) -> str:
        return run_reports.plan_text(self)


class Result(executed.Result):
    """The result of a run; its text is that of `surgery run`."""

    def __str__(self) -> str:
        return run_reports.result_text(self, False)


@dataclass(frozen=True, repr=False)
class Sweep:
    """The runs of a sweep; its text is that of `surgery sweep status`.

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
        recipe: its file, or the mapping that such a file holds, whose paths start at the working
            folder.
        params: values of the recipe's parameters; by keyword, too.
        threads: how many threads the run would use; as many as there are cores, up to four.
        allow_code: let code run that the recipe names or a model file holds.
        more: parameters by keyword.

    Raises RecipeError with all that is wrong, and where.
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
        recipe: its file, or the mapping that such a file holds, whose paths start at the working
            folder.
        params: values of the recipe's parameters; by keyword, too.
        threads: how many threads to use; as many as there are cores, up to four.
        progress: show a bar on stderr. What happens is logged to the logger `surgery` anyway.
        allow_code: let code run that the recipe names or a model file holds.
        more: parameters by keyword.

    Returns what the run did: `metrics`, `outputs`, and `manifest`, the file that proves it.

    Raises RecipeError with all that is wrong, and where; ExpectationError where what the recipe
    expects does not hold; SurgeryError where the run fails.
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
        target: the one to write.
        to: the format, where the target's name does not tell.
        select: a selector, for only some of the weights.
        architecture: the model whose weights the source holds.
        for_: `keras2` for an .h5 that tf_keras and TensorFlow 2.12 to 2.15 load.
        threads: how many threads to use; as many as there are cores, up to four.
        progress: show a bar on stderr.
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
    """Run every combination of a recipe's matrix on this machine, but those that are done.

    Args:
        recipe: its file, which the processes that do the runs read.
        params: values of the recipe's parameters; by keyword, too.
        folder: the sweep's folder; FILE.sweep beside FILE.yaml.
        jobs: how many runs at once; as many as there are cores.
        threads: how many threads each run uses.
        allow_code: let code run that the recipe names or a model file holds.
        more: parameters by keyword.

    Returns what became of every run; that some failed is no exception, but is logged.
    Raises RecipeError, before any run begins, with all that is wrong.
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
