"""Options that several commands take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from surgery.weights.selectors import Select

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


def selector(text: str) -> Select:
    """A selector from the command line: a pattern, or a mapping of facts as a recipe has it."""
    import re

    from surgery.weights.selectors import Select

    if re.match(r"\{\s*\w+\s*:", text):
        from surgery.recipe.document import parse

        return Select(parse(text.encode(), "--select").value)
    return Select(text)


def echo_json(value: object) -> None:
    """Print JSON, indented."""
    from surgery.declaration import as_json as text

    click.echo(text(value))
