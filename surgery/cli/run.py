"""`surgery run`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from surgery.cli import _options

if TYPE_CHECKING:
    from surgery.execution.progress import Progress
    from surgery.recipe.language import Recipe
    from surgery.recipe.reading import RecipeFile
    from surgery.sweeps.work import Doing


@click.command("run")
@_options.recipes
@_options.params
@_options.index
@click.option("--dir", "folder", type=click.Path(path_type=Path, file_okay=False),
              help="With --index: the sweep's folder, as for surgery sweep.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only show the plan.")
@click.option("--threads", type=click.IntRange(1, 64), help="Threads to use (default: the cores).")
@click.option("--force", is_flag=True, help="Run even if the outputs are up to date.")
@click.option("--hash", "hashes", is_flag=True, help="Add SHA-256 of whole files to the manifest.")
@click.option("--no-manifest", is_flag=True, help="Do not write NAME.run.json beside the outputs.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    help="Print a line on stderr for every event.",
)
@_options.as_json
@_options.quiet
@click.option("-v", "--verbose", is_flag=True, help="Print the effect on every weight.")
def command(
    recipes: tuple[Path, ...],
    params: tuple[str, ...],
    index: int | None,
    folder: Path | None,
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
    from surgery.report.current import current_facts, current_text

    given = _options.overrides(params)
    if not (dry_run or force or index is not None or folder or log_format or as_json):
        from surgery.execution.quick import seen_as_current

        current = [path for recipe in recipes if (path := seen_as_current(recipe, given, hashes))]
        if len(current) == len(recipes):
            for path in () if quiet else current:
                _options.echo(current_text(path))
            return
    from surgery.errors import ExpectationError, UsageError
    from surgery.execution import manifest, proof
    from surgery.execution.execute import Result, execute
    from surgery.execution.plan import default_threads
    from surgery.execution.planning import make_plan
    from surgery.execution.progress import progress_for
    from surgery.recipe.reading import RecipeFile
    from surgery.report.runs import plan_facts, plan_text, result_facts, result_text

    def run(recipe: Recipe, progress: Progress) -> tuple[dict[str, Any], str]:
        count = threads or default_threads()
        if not (dry_run or force) and proof.is_current(recipe, count, hashes):
            path = manifest.path_of(recipe)
            progress.say("up to date", manifest=str(path))
            return current_facts(recipe.file, path), current_text(path)
        plan = make_plan(recipe, threads)
        if dry_run:
            return plan_facts(plan), plan_text(plan)
        try:
            result = execute(plan, progress, not no_manifest, hashes)
        except ExpectationError as error:
            if isinstance(error.result, Result) and not (silent or log_format):
                _options.echo(result_text(error.result, verbose))
            raise
        return result_facts(result), result_text(result, verbose)

    # All are checked before the first one runs.
    files = [RecipeFile.read(path, given) for path in recipes]
    numbers = [index if index is not None else _options.index_of(file) for file in files]
    read = [file.only(number) for file, number in zip(files, numbers, strict=True)]
    if not no_manifest:
        manifest.check_apart(read)
    silent = quiet or as_json
    number = 0 if folder and files[0].runs is None else numbers[0]
    if len(files) == 1 and number is not None and not dry_run:
        if no_manifest:
            raise UsageError("a run of a sweep needs its manifest; leave out --no-manifest")
        from surgery.sweeps.work import Doing

        doing = Doing(threads or 1, memo=None, form=log_format, force=force, hashes=hashes)
        _run_of_sweep(files[0], number, given, folder, doing, silent, as_json)
        return
    facts = []
    for recipe in read:
        with (
            progress_for(recipe.name, silent, log_format) as progress,
            _logged(progress, log_format),
        ):
            found, text = run(recipe, progress)
        facts.append(found)
        if not (silent or log_format):
            _options.echo(text)
    if as_json:
        _options.echo_json(facts[0] if len(facts) == 1 else facts)


def _run_of_sweep(
    file: RecipeFile,
    index: int,
    overrides: dict[str, str],
    folder: Path | None,
    doing: Doing,
    silent: bool,
    as_json: bool,
) -> None:
    """Do one run of a matrix, with a record in the sweep's folder, unless it is done."""
    from dataclasses import asdict, replace

    from surgery.errors import SurgeryError
    from surgery.report.sweeps import ended_text
    from surgery.sweeps.folder import SweepFolder
    from surgery.sweeps.shared_steps import SharedSteps
    from surgery.sweeps.work import do_run

    recipe = file.run(index)
    into = SweepFolder.of(file, folder)
    into.begin(file, overrides)
    run = into.runs()[index]
    if doing.force:
        into.forget(run.id)
    memo = SharedSteps(file).memo(recipe, doing.threads)
    record = do_run(into, recipe, replace(doing, memo=memo), is_logged=False)
    if record is None:
        held = into.holder(run.id)
        by = f"process {held.pid} on {held.host}" if held else "another process"
        raise SurgeryError(f"run {index} is being done by {by}; wait for it")
    if as_json:
        _options.echo_json(asdict(record))
    elif not silent:
        _options.echo(ended_text(record))
    if not record.is_done:
        raise click.exceptions.Exit(record.exit_code or 1)


@contextlib.contextmanager
def _logged(progress: Progress, log_format: str | None) -> Iterator[None]:
    """Report an error inside the `with` block in the log's own format."""
    from surgery.errors import SurgeryError

    try:
        yield
    except SurgeryError as error:
        if log_format is None:
            raise
        progress.say("failed", exit_code=error.exit_code, message=str(error))
        raise click.exceptions.Exit(error.exit_code) from None
