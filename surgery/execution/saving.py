"""Writing of one model to its targets, without a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from surgery.errors import FormatError
from surgery.execution.places import overlapping, path_problem
from surgery.execution.plan import default_threads, target_plan
from surgery.execution.progress import Progress, Silent
from surgery.execution.writing import load_checks, write
from surgery.recipe.language import Target
from surgery.weights.model import Model


def save(model: Model, targets: Sequence[Target], progress: Progress | None = None) -> None:
    """Write a model to all of its targets, or none.

    Raises FormatError, before writing, if a format cannot store the model, and after reading if
    the bytes read do not match the source file's own checksums.
    """
    if problems := list(_problems(model, targets)):
        raise FormatError(problems[0])
    plans = [target_plan(target, model) for target in targets]

    def conclude(_new: Mapping[Path, Path], _digests: Mapping[int, str]) -> Mapping[Path, Path]:
        model.check_read()
        return {}

    load_checks(plans)
    write(plans, default_threads(), progress or Silent(), conclude)


def _problems(model: Model, targets: Sequence[Target]) -> Iterator[str]:
    """Yield why targets cannot be written, each with its format's name."""
    seen: list[Path] = []
    for target in targets:
        name = target.format.name
        for refusal in target.format.refusals(target.optimizer.left(model)):
            yield f"{name}: {refusal}"
        if problem := path_problem(target.path, target.format, model.inputs):
            yield f"{name}: {problem}"
        for other in overlapping(target.path, seen):
            yield f"{name}: {target.path} collides with another target, {other}"
        seen.append(target.path.resolve())
