"""`surgery schema`."""

from __future__ import annotations

from pathlib import Path

import click

from surgery.cli import _options


@click.command("schema")
@click.option(
    "--write", type=click.Path(path_type=Path, dir_okay=False), is_flag=False, metavar="[PATH]",
    flag_value=Path("schemas/recipe.schema.json"),
    help="Write it to a file (default: schemas/recipe.schema.json).",
)  # fmt: skip
def command(write: Path | None) -> None:
    """Print the JSON Schema of recipes, for editors.

    It includes the extensions of other installed packages.
    """
    from surgery.recipe.definitions import schema_text
    from surgery.recipe.plugins import installed

    words, problems = installed()
    if problems:
        raise problems[0]
    text = schema_text(words)
    if write is None:
        click.echo(text, nl=False)
        return
    write.parent.mkdir(parents=True, exist_ok=True)
    write.write_text(text, encoding="utf-8")
    _options.echo(f"wrote {write}")
