"""`surgery convert`."""

from __future__ import annotations

from pathlib import Path

import click

from surgery.cli import _options


@click.command("convert")
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--to", "name", metavar="FORMAT", help="The format, if OUT's suffix does not tell.")
@click.option("--select", metavar="S", help='Only these weights: "block1_*", "*/kernel".')
@click.option(
    "--architecture",
    type=click.Path(path_type=Path),
    help="The model whose weights are in IN.",
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
    from surgery.execution.converting import conversion
    from surgery.execution.execute import execute
    from surgery.execution.progress import progress_for
    from surgery.report.runs import result_text

    chosen = None if select is None else _options.selector(select).value
    plan = conversion(str(source), target, name, chosen, architecture, for_)
    with progress_for("convert", quiet) as progress:
        result = execute(plan, progress, with_manifest=False)
    if not quiet:
        _options.echo(result_text(result, False))
