"""Options that several commands take."""

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
    "-p", "params", multiple=True, metavar="NAME=VALUE", help="Give a parameter of the recipe."
)
as_json: Decorator = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
quiet: Decorator = click.option(
    "-q", "--quiet", is_flag=True, help="Print nothing but errors, or what was asked for."
)
direction: Decorator = click.option(
    "--direction", type=click.Choice(["minimize", "maximize"]),
    help="Which values of the metric are better, where its name does not tell.",
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
"""Where engines tell a job its index, and what they count from."""


def index_of(file: RecipeFile) -> int | None:
    """Return the run that the engine means; None where there is no matrix or no engine."""
    import os

    from surgery.errors import UsageError

    if file.runs is None:
        return None
    for name, first in _INDICES.items():
        value = os.environ.get(name)
        if value is None:
            continue
        if not value.isdigit() or int(value) < first:
            raise UsageError(f"{name}={value} is no number of a run; give --index N")
        return int(value) - first
    return None


def overrides(params: tuple[str, ...]) -> dict[str, str]:
    """Return the parameters that `-p` gives, by name."""
    from surgery.recipe.params import given

    return dict(given(text) for text in params)


def selector(text: str) -> Select:
    """Return the selector of a pattern, or of a mapping of facts as a recipe has it."""
    import re

    from surgery.weights.selectors import Select

    if re.match(r"\{\s*\w+\s*:", text):
        from surgery.recipe.document import parse, plain

        return Select(plain(parse(text.encode(), "--select").value))
    return Select(text)


def echo(text: object, err: bool = False) -> None:
    """Print text with URLs in place of local copies, and nothing that a terminal would act on."""
    from surgery.errors import printable
    from surgery.storage import locations

    said = printable(locations.with_urls(str(text)), "\n")
    is_seen = (sys.stderr if err else sys.stdout).isatty()
    click.echo(_wrapped(said) if is_seen else said, err=err)


def _wrapped(text: str) -> str:
    """Return a text with line breaks between words where the terminal ends."""
    import shutil
    import textwrap

    columns = max(40, shutil.get_terminal_size().columns - 1)
    return "\n".join(
        textwrap.fill(line, columns, subsequent_indent="  ", break_long_words=False,
                      break_on_hyphens=False) if len(line) > columns else line
        for line in text.split("\n")
    )  # fmt: skip


def echo_json(value: object) -> None:
    """Print JSON, indented."""
    from surgery.declared.fields import as_json as text
    from surgery.storage import locations

    click.echo(locations.with_urls(text(value)))
