"""Shared parts of the commands that measure a live model."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from surgery.execution.live import LiveRunner
    from surgery.execution.measuring import Measurement
    from surgery.weights.model import Model

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

data: Decorator = click.option(
    "--data",
    required=True,
    metavar="D",
    help='A .npz or .csv, or "{npz: digits.npz, x: x_test, y: y_test}" as in a recipe.',
)
loss: Decorator = click.option("--loss", help="A Keras loss (default: the model's own).")
metrics: Decorator = click.option(
    "--metric", "metric", default="accuracy", show_default=True, help="The metric to use."
)
batch_size: Decorator = click.option(
    "--batch-size",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="Examples at a time; it affects time and memory, not the results.",
)


def measured(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for measuring a model to a command."""
    for option in (batch_size, loss, metrics, data):
        command = option(command)
    return command


def measurement(data: str, batch_size: int, loss: str | None, metric: str) -> Measurement:
    """Make a Measurement from the options; raises UsageError."""
    from surgery.declared.compiling import KerasMetric, Loss
    from surgery.errors import UsageError
    from surgery.execution.measuring import Measurement
    from surgery.recipe.parts import data_from

    compile: dict[str, Any] = {}
    if loss is not None:
        try:
            compile["loss"] = Loss.one(loss)
            compile["metrics"] = [] if metric == "loss" else [KerasMetric.one(metric)]
        except ValueError as error:
            raise UsageError(str(error)) from None
    return Measurement(data_from(data), batch_size, compile)


@contextlib.contextmanager
def runner(title: str, quiet: bool) -> Iterator[LiveRunner]:
    """Yield a LiveRunner with its own progress."""
    from surgery.execution.live import LiveRunner
    from surgery.execution.plan import default_threads
    from surgery.execution.progress import progress_for

    with progress_for(title, quiet) as progress, LiveRunner(progress, default_threads()) as made:
        yield made


def model_of(path: Path, overrides: dict[str, str], runner: LiveRunner) -> Model:
    """Return the model in a file, or the result of a recipe; raises UsageError."""
    from surgery.errors import UsageError
    from surgery.execution.live_steps import with_live_steps
    from surgery.execution.planning import make_plan
    from surgery.formats.base import open_model
    from surgery.recipe.reading import read_recipe

    if path.suffix in (".yaml", ".yml"):
        return with_live_steps(make_plan(read_recipe(path, overrides)), runner).model
    if overrides:
        raise UsageError("-p requires a recipe")
    return open_model(path)
