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
    from surgery.errors import RecipeError
    from surgery.recipe.reading import RecipeFile

    wrong = False
    given = _options.overrides(params)
    for path in recipes:
        try:
            count = len(RecipeFile.read(path, given).all())
            _options.echo(f"{path}: valid{f', {count} runs' if count > 1 else ''}")
        except RecipeError as error:
            wrong = True
            _options.echo(str(error), err=True)
    if wrong:
        raise click.exceptions.Exit(RecipeError.exit_code)
