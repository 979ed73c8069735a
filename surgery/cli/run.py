"""`surgery run`."""

from __future__ import annotations

from pathlib import Path

import click

from surgery.cli import _options


@click.command("run")
@_options.recipes
@_options.params
@click.option("--dry-run", is_flag=True, help="Only show the plan.")
@click.option("--threads", type=click.IntRange(1, 64), help="Threads to use (default: the cores).")
@click.option("--force", is_flag=True, help="Run even where the outputs are up to date.")
@click.option("--hash", "hashes", is_flag=True, help="Sum whole files, too, for the manifest.")
@click.option("--no-manifest", is_flag=True, help="Write no NAME.run.json beside the outputs.")
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

    # All are checked before the first one runs.
    given = _options.overrides(params)
    read = [read_recipe(path, given) for path in recipes]
    facts = []
    for recipe in read:
        if not (dry_run or force) and manifest.is_current(recipe, threads or default_threads()):
            facts.append(current_facts(recipe))
            if not (quiet or as_json):
                click.echo(current_text(recipe))
            continue
        plan = make_plan(recipe, threads)
        if dry_run:
            facts.append(plan_facts(plan))
            text = plan_text(plan)
        else:
            with progress_for(recipe.name, quiet or as_json) as progress:
                result = execute(plan, progress, not no_manifest, hashes)
            facts.append(result_facts(result))
            text = result_text(result, verbose)
        if not (quiet or as_json):
            click.echo(text)
    if as_json:
        _options.echo_json(facts[0] if len(facts) == 1 else facts)
