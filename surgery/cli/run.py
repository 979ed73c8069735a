"""`surgery run`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from surgery.cli import _options

if TYPE_CHECKING:
    from surgery.recipe.language import Recipe
    from surgery.run.progress import Progress


@click.command("run")
@_options.recipes
@_options.params
@click.option("--dry-run", is_flag=True, help="Only show the plan.")
@click.option("--threads", type=click.IntRange(1, 64), help="Threads to use (default: the cores).")
@click.option("--force", is_flag=True, help="Run even where the outputs are up to date.")
@click.option("--hash", "hashes", is_flag=True, help="Sum whole files, too, for the manifest.")
@click.option("--no-manifest", is_flag=True, help="Write no NAME.run.json beside the outputs.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    help="Print a line on stderr for every event.",
)
@_options.as_json
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("-v", "--verbose", is_flag=True, help="Print what became of every weight.")
def command(
    recipes: tuple[Path, ...],
    params: tuple[str, ...],
    dry_run: bool,
    threads: int | None,
    force: bool,
    hashes: bool,
    no_manifest: bool,
    log_format: str | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Run recipes: read a model, change it, write it."""
    from surgery.recipe.reading import read_recipe
    from surgery.report.runs import (
        current_facts,
        current_text,
        plan_facts,
        plan_text,
        result_facts,
        result_text,
    )
    from surgery.run import manifest
    from surgery.run.execute import execute
    from surgery.run.plan import default_threads, make_plan
    from surgery.run.progress import progress_for

    def run(recipe: Recipe, progress: Progress) -> tuple[dict[str, Any], str]:
        count = threads or default_threads()
        if not (dry_run or force) and manifest.is_current(recipe, count, hashes):
            progress.say("up to date", manifest=str(manifest.path_of(recipe)))
            return current_facts(recipe), current_text(recipe)
        plan = make_plan(recipe, threads)
        if dry_run:
            return plan_facts(plan), plan_text(plan)
        result = execute(plan, progress, not no_manifest, hashes)
        return result_facts(result), result_text(result, verbose)

    # All are checked before the first one runs.
    given = _options.overrides(params)
    read = [read_recipe(path, given) for path in recipes]
    silent = quiet or as_json
    facts = []
    for recipe in read:
        with (
            progress_for(recipe.name, silent, log_format) as progress,
            _logged(progress, log_format),
        ):
            found, text = run(recipe, progress)
        facts.append(found)
        if not (silent or log_format):
            click.echo(text)
    if as_json:
        _options.echo_json(facts[0] if len(facts) == 1 else facts)


@contextlib.contextmanager
def _logged(progress: Progress, log_format: str | None) -> Iterator[None]:
    """Tell an error in the log's own form."""
    from surgery.errors import SurgeryError

    try:
        yield
    except SurgeryError as error:
        if log_format is None:
            raise
        progress.say("failed", exit_code=error.exit_code, message=str(error))
        raise click.exceptions.Exit(error.exit_code) from None
