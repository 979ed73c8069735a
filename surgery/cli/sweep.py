"""`surgery sweep`."""

from __future__ import annotations

import re
from pathlib import Path

import click

from surgery.cli import _options
from surgery.errors import did_you_mean


class _Group(click.Group):
    """A group whose first word may be omitted: `sweep RECIPE` is `sweep start RECIPE`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "-h", "--help"}:
            if re.fullmatch(r"[a-z]+", args[0]) and not Path(args[0]).exists():
                hint = did_you_mean(args[0], self.commands)
                raise click.UsageError(f"{args[0]!r} is neither a recipe nor a command{hint}", ctx)
            args = ["start", *args]
        return super().parse_args(ctx, args)


@click.group("sweep", cls=_Group)
def command() -> None:
    """Run every combination of a recipe's matrix.

    surgery sweep RECIPE [OPTIONS] is surgery sweep start RECIPE [OPTIONS].
    """


_folder = click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
_on = click.option("--on", type=click.Choice(["local", "slurm"]), help="Where to run.")
_jobs = click.option("--jobs", type=click.IntRange(1), help="Runs at once (default: the cores).")
_threads = click.option("--threads", type=click.IntRange(1, 64),
                        help="Threads of a run (default: 1, or cluster's cpus); trainings give "
                        "the same bytes only for the same number.")  # fmt: skip
_cluster = click.option("--cluster", "flags", multiple=True, metavar="NAME=VALUE",
                        help="A key of cluster, over the recipe's and the profile's.")  # fmt: skip
_profile = click.option("--profile", type=click.Path(path_type=Path, dir_okay=False),
                        help="A .yaml file with keys of cluster, over the recipe's.")  # fmt: skip
_wait = click.option("--wait", is_flag=True, help="With Slurm: wait until all runs have ended.")


@command.command("start")
@click.argument("recipe", type=click.Path(path_type=Path))
@_options.params
@_on
@_jobs
@_threads
@click.option("--dir", "folder", type=click.Path(path_type=Path, file_okay=False),
              help="The sweep's folder (default: FILE.sweep beside FILE.yaml).")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only plan every run.")
@_cluster
@_profile
@_wait
@click.option("--emit", type=click.Choice(["sbatch", "kubernetes"]),
              help="Only print an array script, or an Indexed Job.")  # fmt: skip
@_options.as_json
@_options.quiet
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
    """Plan all runs of a recipe, then do those not done yet."""
    from surgery.cli._sweep import Sweep, cluster_values
    from surgery.recipe.reading import RecipeFile
    from surgery.sweeps.emit import FORMS
    from surgery.sweeps.folder import SweepFolder

    overrides = _options.overrides(params)
    file = RecipeFile.read(recipe, overrides)
    given = cluster_values(flags, profile)
    into = SweepFolder.of(file, folder)
    sweep = Sweep(file, into, overrides, emit or on or "local", given, jobs, threads,
                  quiet or as_json)  # fmt: skip
    if emit is not None:
        _options.echo(FORMS[emit](sweep.plan(), into.path, params, sweep.cluster, sweep.threads))
        return
    if dry_run:
        sweep.show_plan(as_json)
        return
    sweep.run(wait, as_json)


@command.command("status")
@_folder
@_options.as_json
def status(folder: Path, as_json: bool) -> None:
    """Show the state of every run."""
    from surgery.report.sweeps import status_facts, status_text
    from surgery.sweeps.folder import SweepFolder
    from surgery.sweeps.status import statuses

    into = SweepFolder.existing(folder)
    found = statuses(into)
    _options.echo_json(status_facts(found)) if as_json else _options.echo(status_text(found, into))


@command.command("retry")
@_folder
@_on
@_jobs
@_threads
@_cluster
@_profile
@_wait
@_options.as_json
@_options.quiet
def retry(
    folder: Path,
    on: str | None,
    jobs: int | None,
    threads: int | None,
    flags: tuple[str, ...],
    profile: Path | None,
    wait: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Repeat failed runs, and do those not done yet."""
    from surgery.cli._sweep import Sweep, cluster_values
    from surgery.sweeps.folder import SweepFolder

    into = SweepFolder.existing(folder)
    facts = into.facts()
    for run in into.runs():
        record = into.record(run.id)
        if record and not record.is_done:
            into.forget(run.id)
    given = {**facts["cluster"], **cluster_values(flags, profile)}
    file = into.recipe_file(as_begun=False)
    sweep = Sweep(file, into, facts["params"], on or facts["on"], given, jobs,
                   threads, quiet or as_json)  # fmt: skip
    sweep.run(wait, as_json)


@command.command("cancel")
@_folder
def cancel(folder: Path) -> None:
    """Stop a sweep: running processes end cleanly, and no more runs begin."""
    from surgery.report.tables import shown
    from surgery.sweeps import cancelling
    from surgery.sweeps.folder import SweepFolder

    stopped = cancelling.cancel(SweepFolder.existing(folder))
    _options.echo(f"cancelled; {stopped}; surgery sweep retry {shown(folder)} goes on")


@command.command("table")
@_folder
@click.option("--sort", metavar="COLUMN", help="Sort by this column: a metric best first, "
              "others ascending.")  # fmt: skip
@_options.direction
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@_options.as_json
def table(
    folder: Path, sort: str | None, direction: str | None, as_csv: bool, as_json: bool
) -> None:
    """Show a row for every run: values, metrics, sparsity, size, time."""
    from surgery.report import sweeps
    from surgery.sweeps.folder import SweepFolder
    from surgery.sweeps.status import statuses

    into = SweepFolder(folder)
    better = sweeps.Better.of(into.facts().get("objective"), sort, direction)
    found = statuses(into)
    if as_json:
        _options.echo_json(sweeps.rows(found, sort, better))
    elif as_csv:
        _options.echo(sweeps.table_csv(sweeps.rows(found, sort, better)))
    else:
        _options.echo(sweeps.table_text(found, sort, better))


@command.command("plot")
@_folder
@click.option("--x", required=True, metavar="COLUMN", help="The horizontal axis.")
@click.option("--y", required=True, metavar="COLUMN", help="The vertical axis.")
@click.option("--by", metavar="COLUMN", help="Draw a line for each of its values.")
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False),
              help="The file, .png, .svg or .pdf (default: in DIR).")  # fmt: skip
def plot(folder: Path, x: str, y: str, by: str | None, out: Path | None) -> None:
    """Plot one column over another."""
    from surgery.report.pictures import need_plotting
    from surgery.report.sweeps import draw
    from surgery.report.tables import shown
    from surgery.sweeps.folder import SweepFolder
    from surgery.sweeps.status import statuses

    need_plotting()
    path = out or folder / f"{y}-{x}.png"
    draw(statuses(SweepFolder.existing(folder)), x, y, by, path, folder.stem)
    _options.echo(f"wrote {shown(path)}")
