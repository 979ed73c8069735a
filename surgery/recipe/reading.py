"""Reading of a file as a Recipe, or as the list of all its mistakes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from surgery.declared.fields import keys_of
from surgery.declared.registry import PluginError
from surgery.errors import Problem, RecipeError, UsageError
from surgery.live.permission import need_permission
from surgery.recipe.building import Builder, without_repeats
from surgery.recipe.cluster import Cluster
from surgery.recipe.document import MOST_BYTES, Document, parse, plain
from surgery.recipe.language import Recipe
from surgery.recipe.matrix import Values, combinations, grouped, run_id, with_fixed
from surgery.recipe.objective import Objective
from surgery.recipe.params import (
    OWN,
    PER_SWEEP,
    Substitution,
    as_given,
    environment,
    references,
    resolve,
)
from surgery.recipe.plugins import foreign_words, places_of
from surgery.recipe.samples import is_sample
from surgery.recipe.schema import Words, recipe_schema
from surgery.recipe.validation import schema_problems
from surgery.weights.sources import Source


def read_recipe(
    path: Path, overrides: Mapping[str, Any] | None = None, index: int | None = None
) -> Recipe:
    """Read the recipe in a file; with a matrix, the run of the given number.

    Raises RecipeError with every mistake, or UsageError for overrides and the number.
    """
    return RecipeFile.read(path, overrides).only(index)


def recipe_from(data: bytes, file: str, folder: Path, overrides: Mapping[str, Any]) -> Recipe:
    """Read the recipe in `data`; relative paths in it start at `folder`. Raises RecipeError."""
    return RecipeFile(data, file, folder, overrides).only(None)


class RecipeFile:
    """A recipe's file: one recipe, or with a matrix one for each run.

    `runs` has the values of each run, or is None without a matrix; `overrides` has the parameters
    given in place of the recipe's.
    """

    def __init__(
        self,
        data: bytes,
        file: str,
        folder: Path,
        overrides: Mapping[str, Any] | None = None,
        runs: Sequence[Values] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Parse the file; relative paths start at `folder`, `overrides` are parameters.

        `runs` and `env` are given to continue a sweep as it began. Raises RecipeError and
        UsageError.
        """
        self.data, self.file, self.folder = data, file, folder
        self.document = parse(data, file)
        value = self.document.value
        if not isinstance(value, dict):
            message = "a recipe is a mapping: surgery: 1, load: ..."
            raise RecipeError(file, [self.document.problem((), message)])
        given = value.get("params")
        defaults = given if isinstance(given, dict) else {}
        self._defaults: Mapping[str, Any] = defaults
        overrides = self.overrides = as_given(overrides or {}, defaults)
        outside = os.environ if env is None else env
        self.env, self._env_problems = environment(value.get("env"), outside, self.document)
        matrix = list(references(value.get("matrix")))
        spoken_of = [*matrix, *references(defaults)] if matrix else []
        self._matrix_is_foreign = any(name.startswith("env:") for name in spoken_of)
        own = {name: text for name, text in overrides.items() if name in defaults}
        early = self._substitution({n: v for n, v in resolve(defaults, own).items() if n in own})
        early.problems.clear()  # problems of parameters; each run reports them
        whole = early.value({name: value[name] for name in PER_SWEEP if name in value})
        problems = [*early.problems, *_part_problems(whole, self.document)]
        if problems:
            raise RecipeError(file, problems)
        made: Sequence[Values] | None = None
        if "matrix" in whole:
            seed = plain(early.value(value.get("seed", 0)))
            made = runs or self._combinations(whole["matrix"], seed if isinstance(seed, int) else 0)
        names = dict.fromkeys(name for values in made or () for name in values)
        params = resolve({**names, **defaults}, overrides)
        fixed = {name: params[name] for name in names if name in overrides}
        self.runs = None if made is None else with_fixed(made, fixed)
        self._given = {name: params[name] for name in overrides}
        self._sources: dict[str, Source] = {}
        builder = Builder(self.document, folder)
        self.cluster: Cluster = (
            builder.declared(Cluster, plain(whole.get("cluster", {})), ("cluster",)) or Cluster()
        )
        self.objective: Objective | None = builder.declared(
            Objective, plain(whole.get("objective")), ("objective",)
        )
        if builder.problems:
            raise RecipeError(file, builder.problems)

    @classmethod
    def read(cls, path: Path, overrides: Mapping[str, Any] | None = None) -> RecipeFile:
        """Read a file; raises RecipeError and UsageError."""
        try:
            with path.open("rb") as file:
                data = file.read(MOST_BYTES + 1)
        except IsADirectoryError:
            hint = f"; see surgery sweep status {path}" if path.suffix == ".sweep" else ""
            raise UsageError(f"{path} is a folder, not a recipe{hint}") from None
        except OSError as error:
            message = f"{error.strerror}{_sample_hint(path)}"
            raise RecipeError(str(path), [Problem(1, 1, "", message)]) from None
        if data.startswith(_MODELS):
            raise UsageError(f"{path} is a model, not a recipe; surgery inspect {path} shows it")
        return cls(data, str(path), path.parent, overrides)

    def _substitution(self, given: Mapping[str, Any]) -> Substitution:
        """Return the substitution of `${name}` with the given values over the defaults."""
        made = Substitution(self.document, given, self.env, self._matrix_is_foreign)
        for name, default in self._defaults.items():
            if name not in given:
                made.define(name, default)
        return made

    def _combinations(self, matrix: Mapping[str, Any], seed: int) -> list[Values]:
        try:
            return combinations(matrix, self.document, self.folder, seed)
        except RecipeError as error:
            raise RecipeError(self.file, error.problems) from None

    def only(self, index: int | None) -> Recipe:
        """Return the single recipe, or the run of that number; raises UsageError."""
        if self.runs is None:
            if index:
                raise UsageError(f"{self.file} has no matrix, so it has no run {index}")
            return self._recipe(None)
        last = len(self.runs) - 1
        if index is None:
            raise UsageError(
                f"{self.file} has a matrix of {last + 1} runs: surgery sweep does all of them, "
                f"--index N one (0 to {last})"
            )
        if not 0 <= index <= last:
            raise UsageError(f"{self.file} has the runs 0 to {last}, and no run {index}")
        return self._recipe(index)

    def run(self, index: int) -> Recipe:
        """Return the run of that number; without a matrix, the single recipe."""
        return self._recipe(None if self.runs is None else index)

    def all(self) -> list[Recipe]:
        """Return all recipes; raises RecipeError with every mistake, and its runs."""
        if self.runs is None:
            return [self._recipe(None)]
        recipes, problems = [], {}
        for index in range(len(self.runs)):
            try:
                recipes.append(self._recipe(index))
            except RecipeError as error:
                problems[index] = error.problems
        if problems:
            raise RecipeError(self.file, grouped(problems, self.runs))
        return recipes

    def _recipe(self, index: int | None) -> Recipe:
        values: dict[str, Any] = {}
        number: dict[str, Any] = {}
        if index is not None and self.runs is not None:
            values = dict(self.runs[index])
            number = {"index": index, "id": run_id(values)}
        filled = self._substitution({**number, **self._given, **values})
        parts = {n: v for n, v in self.document.value.items()
                 if n not in PER_SWEEP and not n.startswith(OWN)}  # fmt: skip
        value = plain(filled.value(parts))
        params = {**{f"env:{name}": text for name, text in self.env.items()}, **filled.params}
        problems = [*filled.problems, *self._env_problems, *self.document.duplicates]
        words = self._words(value)
        problems += schema_problems(recipe_schema(words), value, self.document)
        builder = Builder(self.document, self.folder, self._sources, words)
        recipe = builder.recipe(value, self.file, params)
        problems += without_repeats(builder.problems, problems)
        if recipe is None or problems:
            raise RecipeError(self.file, problems)
        if index is None:
            return recipe
        name = f"{recipe.name}-{run_id(values)}"
        return replace(recipe, name=name, index=index, values=values)

    def _words(self, value: Mapping[str, Any]) -> Words:
        """Return the words from other packages; raises RecipeError if one is unusable."""
        words = foreign_words({n: v for n, v in value.items() if n not in ("params", "env")})
        try:
            recipe_schema(words)
        except PluginError as error:
            place = next(places_of(error.word, value), ())
            problem = self.document.problem(place, str(error), at_key=True)
            raise RecipeError(self.file, [problem]) from error
        return words


_MODELS = (b"PK\x03\x04", b"\x89HDF\r\n")
"""The first bytes of .keras and .h5 files."""


def _sample_hint(path: Path) -> str:
    known = is_sample(path.stem) and not path.exists()
    return f"; surgery init {path.stem} copies a recipe of that name here" if known else ""


def merged_cluster(file: RecipeFile, given: Mapping[str, Any], runs_setup: bool) -> Cluster:
    """Return a recipe's cluster settings, overridden by the user's; raises UsageError.

    If `runs_setup`, shell commands from the recipe itself need permission (else SurgeryError).
    """
    for name in file.cluster.shell if runs_setup else ():
        if name.partition(".")[0] not in given:
            need_permission(f"{file.file}: cluster.{name}")
    document = Document({"cluster": given}, {}, {})
    builder = Builder(document, Path())
    problems = [*_part_problems(document.value, document)]
    made = builder.declared(Cluster, given, ("cluster",))
    problems = problems or builder.problems
    if problems or not isinstance(made, Cluster):
        message = "; ".join(f"{problem.where}: {problem.message}" for problem in problems)
        raise UsageError(message or "cluster: expected a mapping")
    names = [field.name for name, field in keys_of(Cluster).items() if name in given]
    return replace(file.cluster, **{name: getattr(made, name) for name in names})


def _part_problems(whole: Mapping[str, Any], document: Document) -> list[Problem]:
    """Return the problems of the keys for a sweep as a whole."""
    properties = recipe_schema()["properties"]
    schema = {"properties": {name: properties[name] for name in PER_SWEEP}}
    return schema_problems(schema, whole, document)
