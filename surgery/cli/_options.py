"""Options that several commands take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

params: Decorator = click.option(
    "-p", "params", multiple=True, metavar="NAME=VALUE", help="Give a parameter of the recipe."
)
as_json: Decorator = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
recipes: Decorator = click.argument(
    "recipes", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RECIPE..."
)


def overrides(params: tuple[str, ...]) -> dict[str, str]:
    """What `-p` gives, by name."""
    from surgery.recipe.params import given

    return dict(given(text) for text in params)


def echo_json(value: object) -> None:
    """Print JSON, indented."""
    import json

    click.echo(json.dumps(value, indent=1))
