"""The library: the same as the command, from Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surgery.errors import FormatError, UsageError, did_you_mean
from surgery.storage import locations
from surgery.weights.model import Model
from surgery.weights.weight import Weight

if TYPE_CHECKING:
    from surgery.execution.execute import Result

__all__ = ["Model", "Weight", "op_function", "open", "run", "save"]

Recipe = str | Path | Mapping[str, Any]


def open(path: str | Path) -> Model:
    """The model in a file or folder, of a format found by its content; nothing is read yet.

    Raises FormatError where it is no model, or a broken one.
    """
    from surgery.formats.base import open_model

    return open_model(Path(path))


def run(recipe: Recipe, /, **params: object) -> Result:
    """Run a recipe, given as a file or as the mapping that such a file holds.

    Relative paths start at the file's folder, or for a mapping at the working folder.
    Raises RecipeError (what is wrong, and where), or SurgeryError where the run fails.
    """
    from surgery.execution.execute import execute
    from surgery.execution.planning import make_plan
    from surgery.recipe.building import as_json
    from surgery.recipe.reading import read_recipe, recipe_from

    given = {name: str(value) for name, value in params.items()}
    if isinstance(recipe, Mapping):
        read = recipe_from(as_json(recipe).encode(), "recipe", Path(), given)
    else:
        read = read_recipe(Path(recipe), given)
    return execute(make_plan(read))


def save(model: Model, **targets: str | Path) -> None:
    """Write a model, by format: `save(model, keras="out.keras", npy="out/weights")`.

    Raises FormatError, and writes nothing, where a format cannot hold the model or what was read
    is not what the file's own checksums say.
    """
    from surgery.execution.places import path_problem
    from surgery.execution.plan import default_threads, target_plan
    from surgery.execution.progress import Silent
    from surgery.execution.writing import load_checks, write
    from surgery.formats.base import formats

    plans = []
    for name, given in targets.items():
        if name not in formats():
            hint = did_you_mean(name, formats())
            raise UsageError(f"there is no format {name!r}{hint}; there are {', '.join(formats())}")
        form, path = formats()[name], locations.resolve(given)
        problems = [*form.refusals(model)]
        if problem := path_problem(path, form, model.inputs):
            problems.append(problem)
        if problems:
            raise FormatError(f"{name}: {problems[0]}")
        plans.append(target_plan(form, path, model))

    def conclude(_new: Mapping[Path, Path], _digests: Mapping[int, str]) -> Mapping[Path, Path]:
        for check in model.checks:
            check()
        return {}

    load_checks(plans)
    write(plans, default_threads(), Silent(), conclude)


def op_function(name: str) -> Callable[..., Any]:
    """The op of that name as a function of a model, a selector, and the op's keys.

    One that measures has no selector, and returns what it found out.
    """
    from surgery.ops.base import ops
    from surgery.ops.live import LiveOp

    if name.startswith("_") or name not in ops():
        raise AttributeError(
            f"module 'surgery' has no attribute {name!r}{did_you_mean(name, ops())}"
        )

    def apply(model: Model, select: object, *, seed: int = 0, **keys: object) -> Model:
        from surgery.recipe.building import build_op

        given = {key.rstrip("_"): value for key, value in keys.items()}  # from_ is from
        return build_op(name, {"select": select, **given}, seed).apply(model)

    def measure(model: Model, *selectors: object, **keys: object) -> Mapping[str, Any]:
        if selectors:
            raise UsageError(f"surgery.{name} is about the whole model; it takes keys only")
        return _measured(name, model, keys)

    function: Callable[..., Any] = measure if issubclass(ops()[name], LiveOp) else apply
    function.__name__ = name
    function.__doc__ = ops()[name].__doc__
    return function


def _measured(name: str, model: Model, keys: Mapping[str, object]) -> Mapping[str, Any]:
    """What a step finds out about a model; raises UsageError for one that makes files of it."""
    from surgery.execution.live import LiveRunner
    from surgery.execution.plan import default_threads
    from surgery.execution.progress import Silent
    from surgery.ops.live import LiveOp
    from surgery.recipe.building import build_op

    op = build_op(name, keys)
    assert isinstance(op, LiveOp)
    if op.changes_weights or op.outputs():
        raise UsageError(
            f"surgery.{name} works on files; give it as a step: "
            f'surgery.run({{"surgery": 1, "load": ..., "steps": [{{"{name}": ...}}], ...}})'
        )
    op.apply(model)
    with LiveRunner(Silent(), default_threads()) as runner:
        found = op.run(model, runner).facts
    return dict(found.get("metrics", found.get("layers", found)))
