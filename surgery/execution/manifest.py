"""The manifest of a run: what it read, did and wrote, for later verification."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from surgery.declared.fields import version
from surgery.errors import FormatError, SurgeryError, UsageError
from surgery.execution.seen import (
    ENDING,
    VERSION,
    Facts,
    has_patterns,
    installed,
    key,
    place,
    read,
    relative,
)
from surgery.expectations.base import LiveExpectation
from surgery.formats.base import FORMATS, Format, format_of
from surgery.live.code import CodeName, code_names, paths_in
from surgery.ops.live import LiveOp
from surgery.recipe.language import Recipe
from surgery.recipe.sources import FromHub, FromPath
from surgery.storage import locations
from surgery.version import __version__


def path_of(recipe: Recipe) -> Path:
    """Return the path of a recipe's manifest, beside its first output."""
    return recipe.home / f"{recipe.name}{ENDING}"


def key_of(recipe: Recipe) -> str:
    """Return a hash of all that a run's outputs depend on except the contents of files."""
    return _key(recipe, needs_keras(recipe), packages_of(recipe))


def _key(recipe: Recipe, with_keras: bool, packages: Mapping[str, str]) -> str:
    start = relative(Path(recipe.file).parent, path_of(recipe).parent)
    what: object = recipe.resolved
    if has_patterns(recipe.resolved):
        what = [what, list(_donated(recipe, path_of(recipe).parent))]
    return key(start, recipe.seed, what, with_keras, packages)


def packages_of(recipe: Recipe) -> Mapping[str, str]:
    """Return {package: version} of the packages that provide ops, formats and so on."""
    if not FORMATS.others():
        return recipe.packages
    names = []
    for path in (getattr(source, "path", None) for source in recipe.sources()):
        with contextlib.suppress(SurgeryError):  # the run reports it
            names += [format_of(path).name] if path is not None else []
    return {**recipe.packages, **FORMATS.packages(names)}


def _donated(recipe: Recipe, folder: Path) -> Iterator[str]:
    """Yield the paths of all donors, including those that match a pattern."""
    for donor in recipe.donors():
        path = getattr(donor.source, "path", None)
        if path is not None:
            yield relative(path, folder)


def needs_keras(recipe: Recipe) -> bool:
    """Return whether outputs may depend on the versions of Keras and TensorFlow."""
    kinds = (FromPath, FromHub)
    return (
        is_live(recipe)
        or any(s.is_made or not isinstance(s, kinds) for s in recipe.sources())
        or any(_may_be_tensorflows(target.format) for target in recipe.export)
    )


def is_live(recipe: Recipe) -> bool:
    """Return whether a live Keras model is needed."""
    return any(step.op.needs_live for step in recipe.steps) or any(
        isinstance(each.expectation, LiveExpectation) for each in recipe.expect
    )


def _may_be_tensorflows(form: Format) -> bool:
    return type(form).needs_tensorflow is not Format.needs_tensorflow


def data_files(recipe: Recipe) -> list[Path]:
    """Return the files and folders that steps and expectations read, except models."""
    given = [path for step in recipe.steps for path in step.op.inputs()]
    own = [each.expectation for each in recipe.expect if not each.expectation.donors()]
    return [*given, *(path for each in own for path in paths_in(each))]


def code_files(recipe: Recipe) -> list[Path]:
    """Return the files beside the recipe with code named in it."""
    return [name.file for name in _code(recipe) if name.file.is_file()]


def runs_code(recipe: Recipe) -> bool:
    """Return whether the recipe names the user's code."""
    return bool(_code(recipe))


def is_remote(recipe: Recipe) -> bool:
    """Return whether the recipe writes to URLs."""
    written = [target.path for target in recipe.export]
    for step in recipe.steps:
        written += step.op.outputs() if isinstance(step.op, LiveOp) else ()
    return any(locations.url_of(path) is not None for path in written)


def _code(recipe: Recipe) -> list[CodeName]:
    return [name for part in _parts(recipe) for name in code_names(part)]


def _parts(recipe: Recipe) -> Iterator[object]:
    """Yield the sources, ops and expectations, whose keys name files and code."""
    yield from recipe.sources()
    yield from (step.op for step in recipe.steps)
    yield from (each.expectation for each in recipe.expect)


def check_free(recipe: Recipe) -> None:
    """Raise UsageError if the manifest would replace that of another recipe with its outputs."""
    path = path_of(recipe)
    if is_remote(recipe):
        return
    try:
        facts = read(path)
        other = facts["recipe_path"]
        outputs = {each["path"] for each in facts["outputs"]}
    except (FormatError, KeyError, TypeError):  # no manifest, or an earlier version
        return
    own = {relative(target.path, path.parent) for target in recipe.export}
    if other == relative(Path(recipe.file), path.parent) or own & outputs:
        return
    if all(place(each, path.parent).exists() for each in (other, *outputs)):
        raise UsageError(
            f"{recipe.file}: its manifest would replace {path}, which belongs to "
            f"{os.path.normpath(place(other, path.parent))}; give one of them another name: in its "
            "recipe"
        )


def check_apart(recipes: Sequence[Recipe]) -> None:
    """Raise UsageError if two recipes would write the same manifest."""
    seen: dict[Path, Recipe] = {}
    for recipe in recipes:
        path = path_of(recipe).resolve()
        other = seen.setdefault(path, recipe)
        if Path(other.file).resolve() != Path(recipe.file).resolve():
            raise UsageError(
                f"{other.file} and {recipe.file} are both called {recipe.name}, and would write "
                f"the same manifest {path_of(recipe)}; give one of them another name: in its recipe"
            )


def head(recipe: Recipe) -> Facts:
    """Return the manifest's facts of the recipe and of the versions that run it."""
    with_keras, packages = needs_keras(recipe), packages_of(recipe)
    used = ("keras", "tensorflow") if with_keras else ()
    return {
        "manifest": VERSION,
        "key": _key(recipe, with_keras, packages),
        "name": recipe.name,
        "recipe": recipe.resolved,
        "file": recipe.file,
        "recipe_path": relative(Path(recipe.file), path_of(recipe).parent),
        "params": dict(recipe.params),
        "seed": recipe.seed,
        "runs_code": runs_code(recipe),
        **({"packages": dict(packages)} if packages else {}),
        "versions": {
            "surgery": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "h5py": version("h5py"),
            **{name: installed(name) for name in used},
        },
    }
