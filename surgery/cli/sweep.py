"""`surgery sweep`."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from surgery.cli import _options
from surgery.errors import Terminated

if TYPE_CHECKING:
    from surgery.recipe.cluster import Cluster
    from surgery.recipe.reading import RecipeFile
    from surgery.sweep.folder import SweepFolder
    from surgery.sweep.planning import PlannedRun, SweepPlan


class _Group(click.Group):
    """A group whose first word may be left out: `sweep RECIPE` is `sweep start RECIPE`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "-h", "--help"}:
            args = ["start", *args]
        return super().parse_args(ctx, args)


@click.group("sweep", cls=_Group)
def command() -> None:
    """Run every combination of a recipe's matrix: sweep RECIPE [options]."""


_folder = click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
_on = click.option("--on", type=click.Choice(["local", "slurm"]), help="Where the runs go.")
_jobs = click.option("--jobs", type=click.IntRange(1), help="Runs at once (default: the cores).")
_threads = click.option("--threads", type=click.IntRange(1, 64),
                        help="Threads of a run (default: 1, or cluster's cpus); trainings give "
                        "the same bytes for the same number only.")  # fmt: skip
_cluster = click.option("--cluster", "flags", multiple=True, metavar="NAME=VALUE",
                        help="A key of cluster, over the recipe's and the profile's.")  # fmt: skip
_profile = click.option("--profile", type=click.Path(path_type=Path, dir_okay=False),
                        help="A .yaml file with keys of cluster, over the recipe's.")  # fmt: skip
_wait = click.option("--wait", is_flag=True, help="With Slurm: wait until all runs have ended.")
_quiet = click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")


@command.command("start")
@click.argument("recipe", type=click.Path(path_type=Path))
@_options.params
@_on
@_jobs
@_threads
@click.option("--dir", "folder", type=click.Path(path_type=Path, file_okay=False),
              help="The sweep's folder (default: NAME.sweep beside the recipe).")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only plan every run.")
@_cluster
@_profile
@_wait
@click.option("--emit", type=click.Choice(["sbatch", "kubernetes"]),
              help="Only print an array script, or an Indexed Job.")  # fmt: skip
@_options.as_json
@_quiet
def start(
    recipe: Path,
    params: tuple[str, ...],
    on: str | None,
    jobs: int | None,
    threads: int | None,
    folder: Path | None,
    dry_run: bool,
    flags: tuple[str, ...],
    profile: Path | None,
    wait: bool,
    emit: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Plan all runs of a recipe, then do those that are not done yet."""
    from surgery.recipe.reading import RecipeFile
    from surgery.sweep.folder import SweepFolder

    overrides = _options.overrides(params)
    file = RecipeFile.read(recipe, overrides)
    given = _cluster_values(flags, profile)
    into = SweepFolder.of(file, folder)
    if emit is not None:
        click.echo(_emitted(emit, file, into, params, _merged(file, given)))
        return
    sweep = _Sweep(file, into, overrides, on or "local", given, jobs, threads, quiet or as_json)
    if dry_run:
        sweep.show_plan(as_json)
        return
    sweep.run(wait, as_json)


@command.command("status")
@_folder
@_options.as_json
def status(folder: Path, as_json: bool) -> None:
    """Tell what became of every run."""
    from surgery.report.sweeps import status_facts, status_text
    from surgery.sweep.folder import SweepFolder
    from surgery.sweep.status import statuses

    found = statuses(SweepFolder.existing(folder))
    _options.echo_json(status_facts(found)) if as_json else click.echo(status_text(found))


@command.command("retry")
@_folder
@click.option("--all", "everything", is_flag=True,
              help="Also those that failed by the recipe's own fault.")  # fmt: skip
@_on
@_jobs
@_threads
@_cluster
@_profile
@_wait
@_options.as_json
@_quiet
def retry(
    folder: Path,
    everything: bool,
    on: str | None,
    jobs: int | None,
    threads: int | None,
    flags: tuple[str, ...],
    profile: Path | None,
    wait: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Do again what failed, and what never ran; not what the recipe itself made fail."""
    from surgery.sweep.folder import DONE, SweepFolder

    into = SweepFolder.existing(folder)
    facts = into.facts()
    for run in into.runs():
        record = into.record(run.id)
        if record and record.state != DONE and (everything or not record.is_recipes_fault):
            into.forget(run.id)
    given = {**facts["cluster"], **_cluster_values(flags, profile)}
    file = into.recipe_file(as_begun=False)
    sweep = _Sweep(file, into, facts["params"], on or facts["on"], given, jobs,
                   threads, quiet or as_json)  # fmt: skip
    sweep.run(wait, as_json)


@command.command("cancel")
@_folder
def cancel(folder: Path) -> None:
    """Stop a sweep: what runs is ended cleanly, and nothing more begins."""
    from surgery.sweep import cancelling
    from surgery.sweep.folder import SweepFolder

    stopped = cancelling.cancel(SweepFolder.existing(folder))
    click.echo(f"cancelled; {stopped}; surgery sweep retry {folder} goes on")


@command.command("table")
@_folder
@click.option("--sort", metavar="COLUMN", help="Sort by this column, the best first.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@_options.as_json
def table(folder: Path, sort: str | None, as_csv: bool, as_json: bool) -> None:
    """Show a row for every run: values, metrics, sparsity, size, time."""
    from surgery.report import sweeps
    from surgery.sweep.folder import SweepFolder
    from surgery.sweep.status import statuses

    found = statuses(SweepFolder.existing(folder))
    if as_json:
        _options.echo_json(sweeps.rows(found, sort))
    elif as_csv:
        click.echo(sweeps.table_csv(sweeps.rows(found, sort)))
    else:
        click.echo(sweeps.table_text(found, sort))


@command.command("plot")
@_folder
@click.option("--x", required=True, metavar="COLUMN", help="What goes to the right.")
@click.option("--y", required=True, metavar="COLUMN", help="What goes up.")
@click.option("--by", metavar="COLUMN", help="A line for each of its values.")
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False),
              help="The picture, .png or .svg (default: in DIR).")  # fmt: skip
def plot(folder: Path, x: str, y: str, by: str | None, out: Path | None) -> None:
    """Draw one column over another."""
    from surgery.report.pictures import need_plotting
    from surgery.report.sweeps import draw
    from surgery.report.tables import shown
    from surgery.sweep.folder import SweepFolder
    from surgery.sweep.status import statuses

    need_plotting()
    path = out or folder / f"{y}-{x}.png"
    draw(statuses(SweepFolder.existing(folder)), x, y, by, path)
    click.echo(f"wrote {shown(path)}")


class _Sweep:
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
        from surgery.sweep.local import cores

        self.file, self.folder, self.overrides = file, folder, overrides
        self.on, self.given, self.silent = on, cluster, silent
        self.cluster = _merged(file, cluster)
        self.jobs = jobs or (cores() if on == "local" else self.cluster.array_parallelism)
        self.threads = threads or (self.cluster.cpus if on == "slurm" else None) or 1

    def plan(self) -> SweepPlan:
        from surgery.sweep.planning import plan_sweep

        with _bar("planning", len(self.file.runs or [{}]), self.silent) as advance:
            return plan_sweep(self.file, self.threads, lambda _number: advance(""))

    def show_plan(self, as_json: bool) -> None:
        from surgery.report.sweeps import plan_facts, plan_text

        plan = self.plan()
        if as_json:
            _options.echo_json(plan_facts(plan, self.folder.path))
        else:
            click.echo(plan_text(plan, self.folder.path, min(self.jobs, len(plan.runs))))

    def run(self, wait: bool, as_json: bool) -> None:
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

        submitted = {each.run.id for each in statuses(self.folder) if each.is_open}
        left = []
        for run in plan.runs:
            record = self.folder.record(run.id)
            if record is not None and is_settled(self.file.run(run.index), record):
                continue
            if self.on == "local" or run.id not in submitted:
                left.append(run)
        return left

    def _do(self, todo: Sequence[PlannedRun]) -> None:
        from surgery.report.sweeps import ended_text
        from surgery.sweep.local import LocalSweep, free_memory

        sweep = LocalSweep(self.folder, self.file, self.jobs, self.threads, free_memory())
        done = 0
        try:
            with _bar("runs", len(todo), self.silent) as advance:
                for _, record in sweep.do(todo):
                    done += 1
                    advance(ended_text(record))
        except (KeyboardInterrupt, Terminated) as error:
            number = signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM
            click.echo(f"stopped; {done} of {len(todo)} runs have ended, and the same command "
                       "goes on with the others", err=True)  # fmt: skip
            raise click.exceptions.Exit(128 + number) from None

    def _submit(self, todo: Sequence[PlannedRun], plan: SweepPlan, wait: bool) -> None:
        from surgery.sweep import slurm
        from surgery.sweep.status import statuses

        if todo:
            ids = slurm.submit(self.folder, todo, self.cluster, self.threads, plan.memory)
            if not self.silent:
                click.echo(f"submitted {len(todo)} runs as {', '.join(ids)}", err=True)
        while wait and any(each.is_open for each in statuses(self.folder)):
            time.sleep(2)


def _cluster_values(flags: Sequence[str], profile: Path | None) -> dict[str, Any]:
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


def _merged(file: RecipeFile, given: dict[str, Any]) -> Cluster:
    from surgery.recipe.reading import merged_cluster

    return merged_cluster(file, given)


def _emitted(
    form: str, file: RecipeFile, folder: SweepFolder, params: tuple[str, ...], cluster: Cluster
) -> str:
    from surgery.sweep import emit

    file.all()  # raises what is wrong with a recipe before it is sent anywhere
    return emit.FORMS[form](file, folder.path, params, cluster)


@contextlib.contextmanager
def _bar(title: str, total: int, silent: bool) -> Iterator[Any]:
    """What tells of each thing done: a bar where a person watches, else a line for each."""
    import sys

    if silent or (not sys.stderr.isatty() and title == "planning"):
        yield lambda _line: None
        return
    if not sys.stderr.isatty():
        yield lambda line: click.echo(line, err=True)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)

        def advance(line: str) -> None:
            bar.advance(task)
            if line and ": done" not in line:
                bar.console.print(line, markup=False, highlight=False)

        yield advance
