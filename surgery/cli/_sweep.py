"""A sweep as its commands do it: planned, done here or submitted, and told."""

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
from surgery.errors import Terminated

if TYPE_CHECKING:
    from surgery.recipe.reading import RecipeFile
    from surgery.sweep.folder import SweepFolder
    from surgery.sweep.planning import PlannedRun, SweepPlan


class Sweep:
    """A sweep as the command does it."""

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
        from surgery.recipe.reading import merged_cluster
        from surgery.run.plan import cores

        self.file, self.folder, self.overrides = file, folder, overrides
        self.on, self.given, self.silent = on, cluster, silent
        self.cluster = merged_cluster(file, cluster)
        self.jobs = jobs or (cores() if on == "local" else self.cluster.array_parallelism)
        self.threads = threads or (self.cluster.cpus if on == "slurm" else None) or 1

    def plan(self) -> SweepPlan:
        """Plan every run; raises RecipeError with all that is wrong."""
        from surgery.sweep.planning import plan_sweep

        with _bar("planning", len(self.file.runs or [{}]), self.silent) as advance:
            return plan_sweep(self.file, self.threads, advance)

    def show_plan(self, as_json: bool) -> None:
        """Plan, and do nothing."""
        from surgery.report.sweeps import plan_facts, plan_text

        plan = self.plan()
        if as_json:
            _options.echo_json(plan_facts(plan, self.folder.path))
        else:
            click.echo(plan_text(plan, self.folder.path, min(self.jobs, len(plan.runs))))

    def run(self, wait: bool, as_json: bool) -> None:
        """Plan all runs, and do those that are not done yet; ends with 1 where some failed."""
        from surgery.report import sweeps
        from surgery.sweep.folder import DONE
        from surgery.sweep.status import statuses

        started = time.monotonic()
        plan = self.plan()
        self.folder.begin(self.file, self.overrides, self.on, self.given)
        self.folder.resume()
        todo = self._left(plan)
        if self.on == "slurm":
            self._submit(todo, plan, wait)
        else:
            self._do(todo)
        found = statuses(self.folder)
        if as_json:
            _options.echo_json({"folder": str(self.folder.path), **sweeps.status_facts(found)})
        elif not self.silent:
            click.echo(f"{sweeps.status_text(found)}\nin {time.monotonic() - started:.1f} s; "
                       f"surgery sweep table {self.folder.path} shows them")  # fmt: skip
        over = self.on == "local" or wait
        if over and any(each.state != DONE for each in found):
            raise click.exceptions.Exit(1)

    def _left(self, plan: SweepPlan) -> list[PlannedRun]:
        """The runs that have no record as they now are, and are with no batch system."""
        from surgery.sweep.status import statuses
        from surgery.sweep.work import is_settled

        known = {each.run.id: each for each in statuses(self.folder)}

        def is_left(run: PlannedRun) -> bool:
            record = known[run.id].record
            if record is not None and is_settled(run.recipe, record):
                return False
            return self.on == "local" or not known[run.id].is_open

        return [run for run in plan.runs if is_left(run)]

    def _do(self, todo: Sequence[PlannedRun]) -> None:
        from surgery.report.sweeps import ended_text
        from surgery.sweep.local import LocalSweep, free_memory

        sweep = LocalSweep(self.folder, self.jobs, self.threads, free_memory())
        done = 0
        try:
            with _bar("runs", len(todo), self.silent) as advance:
                for _, record in sweep.do(todo):
                    done += 1
                    advance(ended_text(record), record.is_done)
        except (KeyboardInterrupt, Terminated) as error:
            number = signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM
            click.echo(f"stopped; {done} of {len(todo)} runs have ended, and the same command "
                       "goes on with the others", err=True)  # fmt: skip
            raise click.exceptions.Exit(128 + number) from None

    def _submit(self, todo: Sequence[PlannedRun], plan: SweepPlan, wait: bool) -> None:
        from surgery.report.tables import plural
        from surgery.sweep import slurm
        from surgery.sweep.status import statuses

        if todo:
            ids = slurm.submit(self.folder, todo, self.cluster, self.threads, plan.memory)
            if not self.silent:
                click.echo(f"submitted {plural(len(todo), 'run')} as {', '.join(ids)}", err=True)
        while wait and any(each.is_open for each in statuses(self.folder)):
            time.sleep(2)


def cluster_values(flags: Sequence[str], profile: Path | None) -> dict[str, Any]:
    """The keys of cluster that a profile and the flags give."""
    from surgery.errors import UsageError
    from surgery.recipe.document import parse, scalar

    found: dict[str, Any] = {}
    if profile is not None:
        try:
            value = parse(profile.read_bytes(), str(profile)).value
        except OSError as error:
            raise UsageError(f"{profile}: {error.strerror}") from None
        if not isinstance(value, dict):
            raise UsageError(f"{profile}: a profile is a mapping of the keys of cluster")
        found |= value.get("cluster", value)
    for text in flags:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--cluster {text}: write it as --cluster name=value")
        found[name] = scalar(value)
    return found


@contextlib.contextmanager
def _bar(title: str, total: int, silent: bool) -> Iterator[Any]:
    """What tells of each thing done: a bar where a person watches, else its line."""
    if silent:
        yield lambda line="", is_expected=True: None
        return
    if not sys.stderr.isatty():
        yield lambda line="", is_expected=True: click.echo(line, err=True) if line else None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)

        def advance(line: str = "", is_expected: bool = True) -> None:
            bar.advance(task)
            if not is_expected:
                bar.console.print(line, markup=False, highlight=False)

        yield advance
