"""`surgery init`."""

from __future__ import annotations

import click

from surgery.cli import _options


@click.command("init")
@click.argument("names", nargs=-1, metavar="[NAME]...")
def command(names: tuple[str, ...]) -> None:
    """List the sample recipes, or copy some here with their data."""
    from surgery.recipe.samples import copy_samples, samples
    from surgery.report.tables import listing, shown

    if not names:
        _options.echo(listing(samples()))
        _options.echo("\nsurgery init NAME copies one to recipes/NAME.yaml.")
        return
    for path in copy_samples(names):
        _options.echo(f"wrote {shown(path)}")
    _options.echo(f"now: surgery plan recipes/{names[0]}.yaml")
