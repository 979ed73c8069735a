"""Problems with the paths that a recipe writes to."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from surgery.errors import Problem
from surgery.execution.manifest import path_of
from surgery.formats.base import Format, formats
from surgery.ops.live import LiveOp
from surgery.recipe.document import Place
from surgery.recipe.language import Recipe, Step


def place_problems(recipe: Recipe) -> Iterator[Problem]:
    """Yield targets that collide with each other or with the manifest."""
    manifest = path_of(recipe)
    if manifest.is_dir():
        message = f"{manifest}, for the manifest, is a folder"
        yield recipe.document.problem(("export",), message)
    seen: dict[Path, int] = {}
    for index, target in enumerate(recipe.export):
        resolved = target.path.resolve()
        place: Place = ("export", index, target.format.name)
        for problem in _in_the_way(target.path, manifest, seen):
            yield recipe.document.problem(place, problem)
        seen[resolved] = index


def _in_the_way(path: Path, manifest: Path, seen: Mapping[Path, int]) -> Iterator[str]:
    """Yield collisions of a target's path with other outputs."""
    resolved = path.resolve()
    if resolved == manifest.resolve():
        yield f"{path} is the path of the run's manifest"
    for other in overlapping(path, seen):
        if other == resolved:
            yield f"{path} is already a target (export[{seen[other]}])"
        else:
            yield f"{path} and export[{seen[other]}] contain one another"


def overlapping(path: Path, others: Iterable[Path]) -> Iterator[Path]:
    """Yield the resolved paths that are equal to a path, above it or below it."""
    resolved = path.resolve()
    for other in others:
        if resolved == other or other in resolved.parents or resolved in other.parents:
            yield other


def output_problems(recipe: Recipe, inputs: Sequence[Path]) -> Iterator[Problem]:
    """Yield problems with the files that live steps write."""
    taken = {target.path.resolve(): "a target" for target in recipe.export}
    taken[path_of(recipe).resolve()] = "the path of the run's manifest"
    for step in recipe.steps:
        if isinstance(step.op, LiveOp):
            yield from _written_on_the_way(recipe, step, step.op, taken, inputs)
            yield from _made_files(recipe, step, step.op, taken, inputs)


def _written_on_the_way(
    recipe: Recipe, step: Step, op: LiveOp, taken: Mapping[Path, str], inputs: Sequence[Path]
) -> Iterator[Problem]:
    """Yield problems with the files that a live step writes while it runs."""
    for path in op.writes():
        place = (*step.place, op.name)
        above = (path.resolve(), *path.resolve().parents)
        if use := taken.get(path.resolve()):
            message = f"{path} is {use}; choose another path"
            yield recipe.document.problem(place, message)
        elif read := [each for each in inputs if each.resolve() in above]:
            where = "is an input" if read[0].resolve() == path.resolve() else f"is in {read[0]}"
            message = f"{path} {where}, which is never written to"
            yield recipe.document.problem(place, message)


def _made_files(
    recipe: Recipe, step: Step, op: LiveOp, taken: dict[Path, str], inputs: Sequence[Path]
) -> Iterator[Problem]:
    """Yield problems with the output files of a live step, and add these to `taken`."""
    for path, name in op.outputs().items():
        place = (*step.place, op.name, name)
        if use := taken.get(path.resolve()):
            yield recipe.document.problem(place, f"{path} is {use}; choose another path")
        elif wrong := path_problem(path, formats()["npz"], inputs):
            yield recipe.document.problem(place, wrong)
        taken[path.resolve()] = f"an output of {step.title}"


def path_problem(path: Path, form: Format, inputs: Sequence[Path]) -> str | None:
    """Return what is wrong with a path to write to, such as an input or a link; else None."""
    if problem := input_problem(path, inputs):
        return problem
    if path.exists() and not path.is_file() and not path.is_dir():
        return f"{path} is neither a file nor a folder; choose another path"
    if form.is_folder and path.exists() and not path.is_dir():
        return f"{path} is a file, and {form.name} writes a folder"
    if form.is_folder and path.is_dir() and any(path.iterdir()) and not form.owns(path):
        return (
            f"{path} is a folder with files that surgery did not write; remove it or choose "
            "another path"
        )
    if form.is_folder and path.is_symlink():
        return f"{path} is a link to a folder, which is not replaced; name the folder itself"
    if not form.is_folder and path.is_dir():
        example = path / f"model{form.suffix}"
        return f"{path} is a folder, and {form.name} writes a file; for example {example}"
    return None


def input_problem(path: Path, inputs: Sequence[Path]) -> str | None:
    """Return the problem with a path to write to if it overlaps an input; else None."""
    resolved = path.resolve()
    for source in inputs:
        given = source.resolve()
        if given == resolved or given in resolved.parents or resolved in given.parents:
            return (
                f"{path} is an input of this recipe, which is never written to; choose another path"
            )
        if path.exists() and source.exists() and os.path.samefile(path, source):
            return f"{path} is the same file as the input {source}; choose another path"
    return None
