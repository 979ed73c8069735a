"""What commands share that measure a live model."""

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
loss: Decorator = click.option(
    "--loss", help="A Keras loss (default: what the model was compiled with)."
)
metrics: Decorator = click.option(
    "--metric", "metric", default="accuracy", show_default=True, help="The metric to look at."
)
batch_size: Decorator = click.option(
    "--batch-size",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="Examples at a time; it changes the time and the memory, not what is measured.",
)


def measured(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say how a model is measured."""
    for option in (batch_size, loss, metrics, data):
        command = option(command)
    return command


def measurement(data: str, batch_size: int, loss: str | None, metric: str) -> Measurement:
    """How to measure, from the options."""
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
    """A runner with its own progress."""
    from surgery.execution.live import LiveRunner
    from surgery.execution.plan import default_threads
    from surgery.execution.progress import progress_for

    with progress_for(title, quiet) as progress, LiveRunner(progress, default_threads()) as made:
        yield made


def model_of(path: Path, overrides: dict[str, str], runner: LiveRunner) -> Model:
    """The model in a file, or the one that a recipe makes."""
    from surgery.errors import UsageError
    from surgery.execution.live_steps import with_live_steps
    from surgery.execution.planning import make_plan
    from surgery.formats.base import open_model
    from surgery.recipe.reading import read_recipe

    if path.suffix in (".yaml", ".yml"):
        return with_live_steps(make_plan(read_recipe(path, overrides)), runner).model
    if overrides:
        raise UsageError("-p goes with a recipe")
    return open_model(path)
