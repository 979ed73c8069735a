"""`surgery bisect`."""

from __future__ import annotations

from pathlib import Path

import click

from surgery.cli import _live, _options


@click.command("bisect")
@click.argument("recipe", type=click.Path(path_type=Path))
@_live.measured
@click.option("--drop", default="1%", show_default=True, metavar="SHARE",
              help="How much worse the metric may get, in its own unit.")  # fmt: skip
@_options.direction
@_options.params
@_options.as_json
@_options.quiet
def command(
    recipe: Path,
    data: str,
    metric: str,
    loss: str | None,
    batch_size: int,
    drop: str,
    direction: str | None,
    params: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> None:
    """Find the step of a recipe that broke the model.

    The model is measured between steps.
    """
    from surgery.declared.fields import Share
    from surgery.errors import UsageError
    from surgery.execution import measuring
    from surgery.execution.metrics import is_lower_better, unknown_direction
    from surgery.execution.planning import make_plan
    from surgery.recipe.reading import read_recipe
    from surgery.report.tables import number, table

    try:
        allowed = float(Share.parse(drop).fraction)
    except ValueError as error:
        raise UsageError(f"--drop: {error}") from None
    lower = is_lower_better(metric, direction)
    if lower is None:
        raise UsageError(unknown_direction(metric, "--direction"))
    how = _live.measurement(data, batch_size, loss, metric)
    read = read_recipe(recipe, _options.overrides(params))
    make_plan(read)  # reports every mistake before any work
    with _live.runner("bisect", quiet or as_json) as runner:
        found = measuring.bisect(runner, read, how, metric, allowed, lower)
    titles = ["as loaded", *(step.title for step in read.steps)]
    if as_json:
        measured = [
            {"steps": count, metric: value} for count, value in sorted(found.measured.items())
        ]
        name = titles[found.step] if found.step else None
        _options.echo_json({"step": found.step, "name": name, "measured": measured})
        return
    rows = [[f"{n}. {titles[n]}", number(value)] for n, value in sorted(found.measured.items())]
    _options.echo(table(["after step", metric], rows, right=(1,)))
    if found.step is None:
        _options.echo(f"no step makes {metric} worse by more than {drop}")
    else:
        _options.echo(f"step {found.step} breaks the model: {titles[found.step]}")
