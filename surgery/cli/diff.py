"""`surgery diff`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from surgery.cli import _options

if TYPE_CHECKING:
    from surgery.weights.model import Model

_TROUBLE = 2
_GIT_ARGUMENTS = 7


@click.command("diff")
@click.argument("models", nargs=-1, required=True, metavar="A B [C...]")
@click.option("--select", metavar="S", help='Only these weights: "*/kernel".')
@click.option("--threads", type=click.IntRange(1, 64), help="Threads to use (default: the cores).")
@click.option("--git", "for_git", is_flag=True, help="Act as git's diff driver (see docs/diff.md).")
@_options.as_json
def command(
    models: tuple[str, ...], select: str | None, threads: int | None, for_git: bool, as_json: bool
) -> None:
    """Compare models: weight by weight, layer by layer.

    Exit codes are those of diff: 0 the same, 1 different, 2 an error. Three or more models give a
    matrix of their distances.
    """
    from surgery.errors import SurgeryError, UsageError, printable

    if for_git:
        if len(models) < _GIT_ARGUMENTS:
            raise UsageError("--git takes the seven arguments that git gives to a diff driver")
        path, old, _, _, new, *_ = models
        models = (old, new)
        _options.echo(printable(f"diff --surgery {path}"))
    elif len(models) < 2:
        raise UsageError("give two models, or more")
    try:
        differ = _compare(models, select, threads, as_json)
    except SurgeryError as error:
        _options.echo(str(error), err=True)
        raise click.exceptions.Exit(0 if for_git else _TROUBLE) from None
    if differ and not for_git:
        raise click.exceptions.Exit(1)


def _compare(
    models: tuple[str, ...], select: str | None, threads: int | None, as_json: bool
) -> bool:
    """Print the differences; returns whether there are any."""
    from itertools import combinations

    from surgery.execution.comparing import comparable
    from surgery.execution.plan import default_threads
    from surgery.report.difference import difference_facts, difference_text, matrix_text
    from surgery.weights.difference import differences

    wanted = None if select is None else _options.selector(select)
    opened = comparable([_opened(name) for name in models], wanted)
    found = {
        (i, j): differences(a, b, threads or default_threads())
        for (i, a), (j, b) in combinations(enumerate(opened), 2)
    }
    for model in opened:
        model.check_read()
    if as_json:
        facts = [difference_facts(models[i], models[j], each) for (i, j), each in found.items()]
        _options.echo_json(facts[0] if len(facts) == 1 else facts)
    elif len(models) == 2:
        _options.echo(difference_text(*models, found[0, 1]))
    else:
        _options.echo(matrix_text(models, found))
    return any(not each.is_none for each in found.values())


def _opened(name: str) -> Path | Model:
    """Return a model to compare; git gives /dev/null for a missing file."""
    from surgery.weights.model import Model

    return Model((), origin="nothing") if name == "/dev/null" else Path(name)
