"""`surgery schema`."""

from __future__ import annotations

from pathlib import Path

import click

from surgery.cli import _options


@click.command("schema")
@click.option("--write", is_flag=True, help="Write it to schemas/recipe.schema.json.")
@click.option("--reference", is_flag=True, help="Print the reference page instead.")
def command(write: bool, reference: bool) -> None:
    """Print the JSON Schema of recipes, for editors."""
    import json

    from surgery.recipe.schema import recipe_schema
    from surgery.report.reference import reference_markdown

    if reference:
        click.echo(reference_markdown(), nl=False)
        return

    text = json.dumps(recipe_schema(), indent=2) + "\n"
    if not write:
        click.echo(text, nl=False)
        return
    path = Path("schemas/recipe.schema.json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    _options.echo(f"wrote {path}")
