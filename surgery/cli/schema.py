"""`surgery schema`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("schema")
@click.option("--write", is_flag=True, help="Write it to schemas/recipe.schema.json.")
def command(write: bool) -> None:
    """Print the JSON Schema of recipes, for editors."""
    import json

    from surgery.recipe.schema import recipe_schema

    text = json.dumps(recipe_schema(), indent=2) + "\n"
    if not write:
        click.echo(text, nl=False)
        return
    path = Path("schemas/recipe.schema.json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    click.echo(f"wrote {path}")
