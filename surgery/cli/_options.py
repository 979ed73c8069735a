"""Options that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from surgery.recipe.reading import RecipeFile
    from surgery.weights.selectors import Select

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

params: Decorator = click.option(
    "-p", "params", multiple=True, metavar="NAME=VALUE", help="Set a parameter of the recipe."
)
as_json: Decorator = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
quiet: Decorator = click.option(
    "-q", "--quiet", is_flag=True, help="Print only errors and requested output."
)
direction: Decorator = click.option(
    "--direction", type=click.Choice(["minimize", "maximize"]),
    help="Which values of the metric are better, if its name does not tell.",
)  # fmt: skip
recipes: Decorator = click.argument(
    "recipes", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RECIPE..."
)


index: Decorator = click.option(
    "--index", type=click.IntRange(0), metavar="N",
    help="Which run of the recipe's matrix (default: the array index of Slurm, Kubernetes, PBS "
    "or LSF).",
)  # fmt: skip

_INDICES = {"SLURM_ARRAY_TASK_ID": 0, "JOB_COMPLETION_INDEX": 0, "PBS_ARRAY_INDEX": 0,
            "LSB_JOBINDEX": 1}  # fmt: skip
"""The engines' environment variables for a job's index, with the first index."""


def index_of(file: RecipeFile) -> int | None:
    """Return the run's index from the engine's environment; None without a matrix or an engine.

    Raises UsageError if the index is not a number.
    """
    import os

    from surgery.errors import UsageError

    if file.runs is None:
        return None
    for name, first in _INDICES.items():
        value = os.environ.get(name)
        if value is None:
            continue
        if not value.isdigit() or int(value) < first:
            raise UsageError(f"{name}={value} is not the number of a run; give --index N")
        return int(value) - first
    return None


def overrides(params: tuple[str, ...]) -> dict[str, str]:
    """Return the parameters given by `-p`, by name."""
    from surgery.recipe.params import given

    return dict(given(text) for text in params)


def selector(text: str) -> Select:
    """Return the selector in an option: a pattern, or a mapping as in a recipe."""
    import re

    from surgery.weights.selectors import Select

    if re.match(r"\{\s*\w+\s*:", text):
        from surgery.recipe.document import parse, plain

        return Select(plain(parse(text.encode(), "--select").value))
    return Select(text)


def echo(text: object, err: bool = False) -> None:
    """Print text with URLs in place of their twins, and terminal control characters escaped.

    On a terminal, long lines are wrapped.
    """
    from surgery.errors import printable
    from surgery.storage import locations

    shown = printable(locations.with_urls(str(text)), "\n")
    is_terminal = (sys.stderr if err else sys.stdout).isatty()
    click.echo(_wrapped(shown) if is_terminal else shown, err=err)


def _wrapped(text: str) -> str:
    """Wrap long lines between words at the terminal's width."""
    import shutil
    import textwrap

    columns = max(40, shutil.get_terminal_size().columns - 1)
    return "\n".join(
        textwrap.fill(line, columns, subsequent_indent="  ", break_long_words=False,
                      break_on_hyphens=False) if len(line) > columns else line
        for line in text.split("\n")
    )  # fmt: skip


def echo_json(value: object) -> None:
    """Print indented JSON."""
    from surgery.declared.fields import as_json as text
    from surgery.storage import locations

    click.echo(locations.with_urls(text(value)))
