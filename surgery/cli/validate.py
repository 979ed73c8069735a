"""`surgery validate`."""

from __future__ import annotations

from pathlib import Path

import click

from surgery.cli import _options


@click.command("validate")
@_options.recipes
@_options.params
def command(recipes: tuple[Path, ...], params: tuple[str, ...]) -> None:
    """Check recipes, without opening their models."""
    from surgery.errors import RecipeError, printable
    from surgery.execution.metrics import objective_problems
    from surgery.execution.problems import recipe_problems
    from surgery.recipe.reading import RecipeFile

    wrong = False
    given = _options.overrides(params)
    for path in recipes:
        try:
            file = RecipeFile.read(path, given)
            problems = [problem for each in file.all() for problem in recipe_problems(each)]
            problems += objective_problems(file)
            if problems:
                raise RecipeError(file.file, problems)
            count = len(file.runs or [{}])
            runs = f", {count} runs" if count > 1 else ""
            _options.echo(printable(f"{path}: valid{runs}"))
        except RecipeError as error:
            wrong = True
            _options.echo(str(error), err=True)
    if wrong:
        raise click.exceptions.Exit(RecipeError.exit_code)
