"""The sweep command: planning, running or submitting, and reporting."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from surgery.cli import _options
from surgery.errors import Terminated, printable

if TYPE_CHECKING:
    from surgery.recipe.reading import RecipeFile
    from surgery.sweeps.folder import SweepFolder
    from surgery.sweeps.planning import PlannedRun, SweepPlan


class Sweep:
    """A sweep with the options of the command."""

    def __init__(
        self,
        file: RecipeFile,
        folder: SweepFolder,
        overrides: dict[str, str],
        on: str,
        cluster: dict[str, Any],
        jobs: int | None,
        threads: int | None,
        silent: bool,
    ) -> None:
        from surgery.execution.plan import cores
        from surgery.recipe.reading import merged_cluster

        self._began = time.time()
        self.file, self.folder, self.overrides = file, folder, overrides
        self.on, self.given, self.silent = on, cluster, silent
        self.cluster = merged_cluster(file, cluster, on in ("slurm", "sbatch"))
        self.jobs = jobs or (cores() if on == "local" else self.cluster.array_parallelism)
        self.threads = threads or (None if on == "local" else self.cluster.cpus) or 1

    def plan(self) -> SweepPlan:
        """Plan every run; raises RecipeError with all problems."""
        from surgery.sweeps.planning import plan_sweep

        with _bar("planning", len(self.file.runs or [{}]), self.silent) as advance:
            return plan_sweep(self.file, self.threads, advance)

    def show_plan(self, as_json: bool) -> None:
        """Print the plan."""
        from surgery.report.sweeps import plan_facts, plan_text

        plan = self.plan()
        done = {run.id for run in plan.runs if self._is_settled(run)}
        if as_json:
            _options.echo_json(plan_facts(plan, self.folder.path, done))
            return
        cluster = self.cluster if self.on == "slurm" else None
        at_once = min(self.jobs, len(plan.runs))
        _options.echo(plan_text(plan, self.folder.path, done, at_once, cluster))

    def run(self, wait: bool, as_json: bool) -> None:
        """Plan all runs, and do those not done yet; exits with 1 if some failed."""
        from surgery.report import sweeps
        from surgery.report.tables import shown
        from surgery.sweeps.folder import DONE
        from surgery.sweeps.status import statuses

        plan = self.plan()
        gone = self.folder.begin(self.file, self.overrides, self.on, self.given)
        self.folder.resume(self._began)
        todo = self._left(plan)
        for line in () if self.silent else sweeps.begun(plan, todo, gone):
            _options.echo(line, err=True)
        if self.on == "slurm":
            self._submit(todo, plan, wait)
        else:
            self._do(todo)
        found = statuses(self.folder)
        if as_json:
            _options.echo_json({"folder": str(self.folder.path), **sweeps.status_facts(found)})
        over = self.on == "local" or wait
        if not self.silent:
            _options.echo(sweeps.status_text(found, self.folder))
            look = "table" if over else "status"
            end = f"surgery sweep {look} {shown(self.folder.path)} shows them"
            if self.folder.is_stopped:
                end = f"cancelled; surgery sweep retry {shown(self.folder.path)} goes on"
            _options.echo(f"in {time.time() - self._began:.1f} s; {end}")
        if over and any(each.state != DONE for each in found):
            raise click.exceptions.Exit(1)

    def _left(self, plan: SweepPlan) -> list[PlannedRun]:
        """Return the runs without a settled record or a submitted job."""
        from surgery.sweeps.status import statuses

        submitted = statuses(self.folder) if self.on == "slurm" else ()
        sent = {each.run.id for each in submitted if each.is_open}
        return [run for run in plan.runs if run.id not in sent and not self._is_settled(run)]

    def _is_settled(self, run: PlannedRun) -> bool:
        from surgery.sweeps.work import settled

        return settled(self.folder, run.recipe, run.id) is not None

    def _do(self, todo: Sequence[PlannedRun]) -> None:
        from surgery.report.sweeps import ended_text
        from surgery.sweeps.local import LocalSweep, free_memory

        done = 0
        try:
            with _bar("runs", len(todo), self.silent) as advance:
                sweep = LocalSweep(self.folder, self.jobs, self.threads, free_memory(),
                                   notify=lambda line: advance(line, False, 0))  # fmt: skip
                for _, record in sweep.do(todo):
                    done += 1
                    advance(ended_text(record), record.is_done)
        except (KeyboardInterrupt, Terminated) as error:
            number = signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM
            _options.echo(f"stopped; {done} of {len(todo)} runs have ended, and the same command "
                       "goes on with the others", err=True)  # fmt: skip
            raise click.exceptions.Exit(128 + number) from None

    def _submit(self, todo: Sequence[PlannedRun], plan: SweepPlan, wait: bool) -> None:
        from surgery.report.tables import plural, size
        from surgery.sweeps import slurm
        from surgery.sweeps.status import statuses

        if todo:
            if 0 < self.cluster.mebibytes(plan.memory) << 20 < plan.memory:
                _options.echo(f"note: mem is {self.cluster.mem}, but a run may take "
                           f"{size(plan.memory)} by the plan", err=True)  # fmt: skip
            ids = slurm.submit(self.folder, todo, self.cluster, self.threads, plan.memory)
            if not self.silent:
                _options.echo(f"submitted {plural(len(todo), 'run')} as {', '.join(ids)}", err=True)
        while wait and any(each.is_open for each in statuses(self.folder)):
            time.sleep(2)


def cluster_values(flags: Sequence[str], profile: Path | None) -> dict[str, Any]:
    """Return the keys of cluster from a profile and the options; raises UsageError."""
    from surgery.errors import RecipeError, UsageError
    from surgery.recipe.document import parse, scalar

    found: dict[str, Any] = {}
    if profile is not None:
        try:
            document = parse(profile.read_bytes(), str(profile))
            value = document.value
            if document.duplicates:
                raise RecipeError(str(profile), document.duplicates)
        except OSError as error:
            raise UsageError(f"{profile}: {error.strerror}") from None
        if isinstance(value, dict) and list(value) == ["cluster"]:
            value = value["cluster"]
        if not isinstance(value, dict):
            raise UsageError(f"{profile}: a profile is a mapping of the keys of cluster")
        found |= value
    for text in flags:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--cluster {text}: write it as --cluster name=value")
        found[name] = parse(value.encode(), text).value if value[:1] in _YAML else scalar(value)
    return found


_YAML = ("[", "{", '"', "'")
"""The first characters of values that are parsed as YAML."""


@contextlib.contextmanager
def _bar(title: str, total: int, silent: bool) -> Iterator[Any]:
    """Yield a function that reports each finished item: on a bar in a terminal, else by a line."""
    if silent:
        yield lambda *_: None
        return
    if not sys.stderr.isatty():
        yield lambda line="", *_: _options.echo(line, err=True) if line else None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TextColumn("to go:"), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)

        def advance(line: str = "", is_expected: bool = True, count: int = 1) -> None:
            bar.advance(task, count)
            if not is_expected:
                bar.console.print(printable(line), markup=False, highlight=False)

        yield advance
