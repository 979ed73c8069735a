"""Notes on a run before it begins, which are not errors."""

from __future__ import annotations

from collections.abc import Iterator

from surgery.execution.problems import only_config
from surgery.recipe.language import Recipe
from surgery.storage import locations
from surgery.weights.model import Model


def notes(recipe: Recipe, model: Model) -> Iterator[str]:
    """Yield notes on what targets change or leave out, and on steps that affect no target."""
    yield from model.notes
    yield from _of_targets(recipe, model)
    yield from _of_urls(recipe)
    yield from _of_idle_steps(recipe)


def _of_targets(recipe: Recipe, model: Model) -> Iterator[str]:
    for target in recipe.export:
        found = [*target.format.notes(target.optimizer.left(model))]
        if target.format.holds_states:
            found = [*target.optimizer.notes(model), *found]
        yield from (f"{target.format.name}: {note}" for note in found)


def _of_urls(recipe: Recipe) -> Iterator[str]:
    urls = [url for target in recipe.export if (url := locations.url_of(target.path))]
    if urls and len(recipe.export) > 1:
        yield (
            f"{urls[0]}: a URL is not written atomically with the other "
            "targets; a run killed at that moment may leave some of them new, and some old"
        )


def _of_idle_steps(recipe: Recipe) -> Iterator[str]:
    targets = [target.format for target in recipe.export]
    idle = only_config(recipe)
    if idle and not targets:
        yield f"{idle[0].op.name} affects no target, as there is none"
    elif idle and not any(target.holds_architecture for target in targets):
        names = ", ".join(dict.fromkeys(step.op.name for step in idle))
        held = " and ".join(target.name for target in targets)
        yield f"{names} affects no target: {held} store weights only"
