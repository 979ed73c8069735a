"""`surgery activations`."""

from __future__ import annotations

from pathlib import Path

import click

from surgery.cli import _live, _options


@click.command("activations")
@click.argument("model", type=click.Path(path_type=Path), metavar="MODEL|RECIPE")
@_live.data
@click.option("--layers", required=True, metavar="S", help='Layers by address: "conv*,dense".')
@_live.batch_size
@click.option("--export", type=click.Path(path_type=Path, dir_okay=False),
              help="A .npz file for the outputs.")  # fmt: skip
@_options.params
@_options.as_json
@_options.quiet
def command(
    model: Path,
    data: str,
    layers: str,
    batch_size: int,
    export: Path | None,
    params: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> None:
    """Show statistics of inner layers' outputs: mean, zeros, dead units."""
    import shutil

    from surgery.ops.activations import Activations
    from surgery.recipe.parts import data_from
    from surgery.report.runs import found_text
    from surgery.storage.replacing import beside

    wanted = tuple(part.strip() for part in layers.split(","))
    op = Activations(layers=wanted, data=data_from(data), batch_size=batch_size, export=export)
    with _live.runner("activations", quiet or as_json) as runner:
        given = _live.model_of(model, _options.overrides(params), runner)
        op.apply(given)
        done = op.run(given, runner)
        for path, made in done.files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(made, beside(path))
            beside(path).replace(path)
    if as_json:
        _options.echo_json(done.facts)
    else:
        _options.echo(found_text(done.facts))
