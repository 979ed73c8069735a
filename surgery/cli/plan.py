"""`surgery plan`."""

from __future__ import annotations

from pathlib import Path

import click

from surgery.cli import _options


@click.command("plan")
@click.argument("recipe", type=click.Path(path_type=Path))
@_options.params
@_options.index
@click.option(
    "--measure",
    is_flag=True,
    help="Read the weights that shapes depend on (factorize by energy), for exact numbers.",
)
@click.option("--layers", is_flag=True, help="Show a row for each layer of the result.")
@_options.as_json
def command(
    recipe: Path,
    params: tuple[str, ...],
    index: int | None,
    measure: bool,
    layers: bool,
    as_json: bool,
) -> None:
    """Show what a recipe will do; only headers of models are read."""
    from surgery.errors import UsageError
    from surgery.execution.planning import make_plan
    from surgery.recipe.reading import read_recipe
    from surgery.report.runs import plan_facts, plan_text

    plan = make_plan(read_recipe(recipe, _options.overrides(params), index))
    if measure:
        from surgery.execution.live_steps import with_live_steps
        from surgery.execution.planning import unknown_before_values

        if (step := unknown_before_values(plan.recipe)) is not None:
            raise UsageError(f"--measure: the weights after {step.title} are known by a run only")
        plan = with_live_steps(plan, None)
    if layers:
        from surgery.report.layers import layer_facts, layers_text

    rows = layer_facts(plan.model) if layers else []
    if as_json:
        _options.echo_json({**plan_facts(plan), **({"layers": rows} if layers else {})})
        return
    _options.echo(plan_text(plan))
    if layers:
        _options.echo("\n" + layers_text(rows))
