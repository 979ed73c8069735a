"""`surgery sensitivity`."""

from __future__ import annotations

from pathlib import Path

import click

from surgery.cli import _live, _options


@click.command("sensitivity")
@click.argument("model", type=click.Path(path_type=Path), metavar="MODEL|RECIPE")
@_live.measured
@click.option("--select", default="**/kernel", show_default=True, metavar="S",
              help="The weights to change.")  # fmt: skip
@click.option("--kind", type=click.Choice(["zero", "noise", "bits"]), default="zero",
              show_default=True, help="Prune, perturb or round them.")  # fmt: skip
@click.option("--levels", metavar="L,L...", help="Shares (20%,80%), standard deviations, or bits.")
@click.option("--seed", type=click.IntRange(0), default=0, help="The seed of the noise.")
@click.option("--csv", "table", type=click.Path(path_type=Path, dir_okay=False),
              help="Append every result to this table, and reuse those in it.")  # fmt: skip
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False),
              help="Plot the results (.png, .svg), with tf-surgery[plot].")  # fmt: skip
@_options.params
@_options.as_json
@_options.quiet
def command(
    model: Path,
    data: str,
    metric: str,
    loss: str | None,
    batch_size: int,
    select: str,
    kind: str,
    levels: str | None,
    seed: int,
    table: Path | None,
    picture: Path | None,
    params: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> None:
    """Show how much a metric depends on each weight.

    One weight at a time is changed.
    """
    from surgery.execution import measuring
    from surgery.report import sensitivity as report
    from surgery.report.pictures import need_plotting

    how = _live.measurement(data, batch_size, loss, metric)
    tried = _levels(levels, kind) if levels else measuring.LEVELS[kind]
    if picture is not None:
        need_plotting()
    with _live.runner("sensitivity", quiet or as_json) as runner:
        given = _live.model_of(model, _options.overrides(params), runner)
        wanted = _options.selector(select)
        found = measuring.sensitivity(runner, given, how, wanted, kind, tried, seed, table)
    measuring.picked(found[0].metrics, metric)
    if as_json:
        _options.echo_json(report.facts(found))
    else:
        _options.echo(report.text(found, metric, kind))
    if picture is not None:
        report.draw(found, metric, kind, picture)


def _levels(text: str, kind: str) -> list[str]:
    from surgery.declared.fields import Share
    from surgery.errors import UsageError

    try:
        parts = [part.strip() for part in text.split(",")]
        if kind == "zero":
            return [str(Share.parse(part).fraction) for part in parts]
        if kind == "bits":
            if not all(1 <= int(part) <= 24 for part in parts):
                raise ValueError("bits are 1 to 24")
            return [str(int(part)) for part in parts]
        return [str(float(part)) for part in parts]
    except ValueError as error:
        raise UsageError(f"--levels {text}: {error}") from None
