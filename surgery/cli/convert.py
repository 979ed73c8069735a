"""`surgery convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from surgery.cli import _options


@click.command("convert")
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--to", "name", metavar="FORMAT", help="The format, where OUT's name does not tell.")
@click.option("--select", metavar="S", help='Only these weights: "block1_*", "*/kernel".')
@click.option(
    "--architecture",
    type=click.Path(path_type=Path),
    help="The model whose weights IN holds.",
)
@click.option(
    "--for",
    "for_",
    type=click.Choice(["keras2"]),
    help="Write an .h5 that tf_keras and TensorFlow 2.12 to 2.15 load.",
)
@_options.quiet
def command(
    source: Path,
    target: Path,
    name: str | None,
    select: str | None,
    architecture: Path | None,
    for_: str | None,
    quiet: bool,
) -> None:
    """Write a model in another format."""
    import re

    from surgery.errors import FormatError, RecipeError, UsageError, did_you_mean
    from surgery.execution.execute import execute
    from surgery.execution.planning import make_plan
    from surgery.execution.progress import progress_for
    from surgery.formats.base import format_for, formats
    from surgery.recipe.building import as_json
    from surgery.recipe.reading import recipe_from
    from surgery.report.runs import result_text

    form = name or format_for(target)
    if form is None or form not in formats():
        what = f"{form!r} is no format" if form else f"{target} does not tell its format"
        hint = did_you_mean(form or "", formats())
        raise UsageError(f"{what}{hint}; give --to with one of {', '.join(formats())}")
    load: dict[str, Any] = {"path": str(source)}
    if architecture is not None:
        load["architecture"] = str(architecture)
    if select is not None:
        load["select"] = _options.selector(select).value
    if for_ is not None and form != "h5":
        raise UsageError(f"--for {for_} writes .h5 files, and {target} is {form}")
    written = str(target) if for_ is None else {"path": str(target), "for": for_}
    recipe = {"surgery": 1, "name": "convert", "load": load, "export": [{form: written}]}
    try:
        plan = make_plan(recipe_from(as_json(recipe).encode(), "convert", Path(), {}))
    except RecipeError as error:
        raise UsageError("\n".join(problem.message for problem in error.problems)) from None
    except FormatError as error:  # there is no recipe that it stands in
        raise FormatError(re.sub(r"^convert:\d+:\d+: load: ", "", str(error))) from None
    with progress_for("convert", quiet) as progress:
        result = execute(plan, progress, with_manifest=False)
    if not quiet:
        _options.echo(result_text(result, False))
