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
    from surgery.recipe.reading import read_recipe

    wrong = False
    given = _options.overrides(params)
    for path in recipes:
        try:
            read_recipe(path, given)
            click.echo(f"{path}: valid")
        except RecipeError as error:
            wrong = True
            click.echo(str(error), err=True)
    if wrong:
        raise click.exceptions.Exit(RecipeError.exit_code)
