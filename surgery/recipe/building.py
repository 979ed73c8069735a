"""Construction of a recipe's typed parts from plain values, with all mistakes."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from surgery.declared.data import DATA, Data
from surgery.declared.fields import (
    field_type,
    finite_number,
    hints_of,
    keys_of,
    missing,
    recipe_path,
    required_of,
)
from surgery.declared.sources import SOURCES
from surgery.errors import Problem, SurgeryError
from surgery.expectations.base import EXPECTATIONS
from surgery.expectations.combined import ALLOWED, WORDS, Combined
from surgery.formats.base import FORMATS
from surgery.ops.base import OPS, Op
from surgery.ops.live import LiveOp
from surgery.recipe import checks
from surgery.recipe.document import Document, Place, plain
from surgery.recipe.globbing import is_pattern, matching_files
from surgery.recipe.language import Expected, Recipe, Step, Target
from surgery.recipe.plugins import packages_of
from surgery.recipe.schema import Words
from surgery.weights.random import Randomness
from surgery.weights.sources import BEFORE, Donor, Operand, OwnDonor, Source


def without_repeats(found: Sequence[Problem], known: Sequence[Problem]) -> list[Problem]:
    """Return the problems in `found` that are not at, in or around a place in `known`."""
    places = [problem.where for problem in known]
    return [
        problem
        for problem in found
        if not any(
            w == problem.where
            or w.startswith((f"{problem.where}.", f"{problem.where}["))
            or problem.where.startswith((f"{w}.", f"{w}["))
            for w in places
            if w
        )
    ]


class Builder:
    """A builder of a recipe's typed parts that collects the problems of invalid ones."""

    def __init__(
        self,
        document: Document,
        folder: Path,
        sources: dict[str, Source] | None = None,
        words: Words = frozenset(),
    ) -> None:
        """Make a builder; `sources` may be shared with other recipes of the same file.

        `words` are those from other packages.
        """
        self.words = words
        self.document = document
        self.folder = folder
        self.sources = {} if sources is None else sources
        self.problems: list[Problem] = []
        self.seed = 0
        self.loaded: Path | None = None

    def problem(self, place: Place, message: str, at_key: bool = False) -> None:
        """Record a problem at a value, or with `at_key` at its key."""
        self.problems.append(self.document.problem(place, message, at_key))

    def recipe(
        self, value: Mapping[str, Any], file: str, params: Mapping[str, Any]
    ) -> Recipe | None:
        seed = value.get("seed", 0)
        self.seed = seed if isinstance(seed, int) else 0
        load = self.source(value.get("load"))
        self.loaded = getattr(load, "path", None)
        steps = [
            self.step(item, ("steps", i)) for i, item in enumerate(_list(value.get("steps", [])))
        ]
        expect = [
            self.expected(item, ("expect", i))
            for i, item in enumerate(_list(value.get("expect", [])))
        ]
        export = [
            self.target(item, ("export", i)) for i, item in enumerate(_list(value.get("export")))
        ]
        if "export" not in value and not _measures(value.get("steps"), OPS.named(self.words)):
            self.problem((), missing("export", [{"keras": "out/model.keras"}]))
        whole = [step for step in steps if step is not None]
        targets = [target for target in export if target is not None]
        expected = [each for each in expect if each is not None]
        if load is None or len(whole) < len(steps) or len(targets) < len(export):
            return None
        if len(expected) < len(expect):
            return None
        name = value.get("name") or Path(file).name.removesuffix(".yaml")
        return Recipe(
            file, self.document, str(name), self.seed, load,
            tuple(_seeded(whole, self.seed)), tuple(expected), tuple(targets), params, value,
            packages=packages_of(self.words),
        )  # fmt: skip

    def source(self, value: Any) -> Source | None:
        if isinstance(value, str):
            value = {"path": value}
        name = json.dumps(value)
        if name not in self.sources:
            found: Source | None = self.one_of(SOURCES.named(self.words), value, ("load",))
            if found is None:
                return None
            self.sources[name] = found
        return self.sources[name]

    def donor(self, value: Any) -> Donor:
        """Make a donor; raises ValueError with the first problem."""
        inner = Builder(self.document, self.folder, self.sources, self.words)
        inner.seed = self.seed
        source = inner.source(value)
        if source is None:
            first = [problem.message for problem in inner.problems[:1]]
            raise ValueError(first[0] if first else "give a path, or a mapping as in load")
        return Donor(source, self.seed)

    def paths(self, values: Sequence[Any]) -> list[Any]:
        """Return the donors' values, with each pattern replaced by the matching files."""
        found = []
        for value in values:
            if isinstance(value, str) and is_pattern(value, self.folder):
                found += matching_files(value, self.folder, without=self.loaded)
            else:
                found.append(value)
        return found

    def step(self, value: Any, place: Place) -> Step | None:
        if not isinstance(value, Mapping):
            return None
        ops = OPS.named(self.words)
        names = [name for name in value if name in ops or name == checks.NAME]
        if len(names) != 1:
            found = f"has {', '.join(names)}" if names else "has none"
            if names or not set(value) - {"name"}:
                self.problem(place, f"a step has exactly one op, and this one {found}")
            return None
        inner = value[names[0]], (*place, names[0])
        op = self.check(*inner) if names[0] == checks.NAME else self.declared(ops[names[0]], *inner)
        title = value.get("name")
        return None if op is None else Step(op, str(title) if title else None, place)

    def check(self, value: Any, place: Place) -> Op | None:
        """Make the step that checks expectations between others; None after a problem."""
        found = [self.expected(each, (*place, i)) for i, each in enumerate(_list(value))]
        expected = [each for each in found if each is not None]
        for each in expected:
            if each.expectation.needs not in ("", "statistics"):
                self.problem(each.place, "it is about the result; put it under expect")
                return None
        if len(expected) < len(found) or not found:
            return None
        return checks.Check(expected=tuple(expected))

    def single(self, value: Any, place: Place, rule: str) -> tuple[str, Any] | None:
        """Return the (key, value) of a mapping with one key, else None.

        A mapping with another number of keys is a problem, whose message begins with `rule`.
        """
        if not isinstance(value, Mapping):
            return None
        if len(value) != 1:
            found = f"has {', '.join(map(str, value))}" if value else "is empty"
            self.problem(place, f"{rule}, and this one {found}")
            return None
        return next(iter(value.items()))

    def expected(self, value: Any, place: Place) -> Expected | None:
        if (single := self.single(value, place, "an expectation is one key")) is None:
            return None
        name, inner = single
        if name in WORDS:
            combined = self.combined(name, inner, (*place, name))
            return None if combined is None else Expected(combined, (*place, name))
        if (known := EXPECTATIONS.named(self.words).get(name)) is None:
            return None  # the schema check reports it
        made = self.declared(known, inner, (*place, name))
        return None if made is None else Expected(made, (*place, name))

    def combined(self, how: Any, value: Any, place: Place) -> Combined | None:
        """Make a combination of expectations; None after a problem."""
        items = (
            [(value, place)]
            if how == "not"
            else [(each, (*place, i)) for i, each in enumerate(_list(value))]
        )
        found = [self.expected(each, where) for each, where in items]
        parts = [each for each in found if each is not None]
        for each in parts:
            if each.expectation.needs not in ALLOWED:
                self.problem(each.place, f"it cannot be part of {how}")
                return None
        if len(parts) < len(found) or not found:
            return None
        return Combined(how=how, parts=tuple(each.expectation for each in parts))

    def target(self, value: Any, place: Place) -> Target | None:
        if (single := self.single(value, place, "a target is one format and its path")) is None:
            return None
        name, inner = single
        if isinstance(inner, str):
            inner = {"path": inner}
        if (known := FORMATS.named(self.words).get(name)) is None:
            return None  # the schema check reports it
        form = self.declared(type(known), inner, (*place, name))
        if form is None:
            return None
        target = self.declared(Target, inner, (*place, name), format=form)
        return target if isinstance(target, Target) else None

    def declared(self, declared: type, value: Any, place: Place, **extra: Any) -> Any:
        """Make an instance of a declared dataclass; None if its value is invalid."""
        if not isinstance(value, Mapping):
            return None
        hints = hints_of(declared)
        arguments: dict[str, Any] = dict(extra)
        before = len(self.problems)
        for name, field in keys_of(declared).items():
            if name not in value:
                continue
            try:
                arguments[field.name] = self.convert(hints[field.name], value[name], (*place, name))
            except (ValueError, SurgeryError) as error:
                self.problem((*place, name), str(error))
            except TypeError:
                return None  # a wrong type, which the schema check reports
        if len(self.problems) > before:
            return None
        try:
            return declared(**arguments)
        except ValueError as error:
            self.problem(place, str(error))
        except TypeError:
            pass  # a missing key, which the schema check reports
        return None

    def convert(self, hint: Any, value: Any, place: Place) -> Any:  # noqa: PLR0912 - one a type
        """Convert a value to a type hint; raises ValueError with the problem.

        Raises TypeError for a value of a wrong type, which the schema check reports.
        """
        if typing.get_origin(hint) in (typing.Union, types.UnionType):
            arguments = typing.get_args(hint)
            if value is None and types.NoneType in arguments:
                return None
            if isinstance(value, bool) and bool in arguments:
                return value
            return self.convert(arguments[0], value, place)
        if typing.get_origin(hint) is Literal:
            if value not in typing.get_args(hint):
                raise TypeError
            return value
        if typing.get_origin(hint) is tuple:
            inner = typing.get_args(hint)[0]
            if inner is Donor:
                value = self.paths(value if isinstance(value, list) else [value])
            if isinstance(value, Mapping) and dataclasses.is_dataclass(inner):
                value = [value]  # a single mapping needs no list
            if not isinstance(value, list):
                raise TypeError
            return tuple(self.convert(inner, v, (*place, i)) for i, v in enumerate(value))
        if typing.get_origin(hint) is Mapping:
            if not isinstance(value, Mapping):
                raise TypeError
            inner = typing.get_args(hint)[1]
            if not dataclasses.is_dataclass(inner):
                return value
            return {name: self.convert(inner, v, (*place, name)) for name, v in value.items()}
        if (own := field_type(hint)) is not None:
            return own.from_recipe(value, self.folder)
        if hint is Donor:
            return self.donor(_without_own_weights(value) if place[-1] == "architecture" else value)
        if hint is OwnDonor:
            return OwnDonor(None if value == BEFORE else self.donor(value))
        if hint is Operand:
            if isinstance(value, str):
                return Operand(value)
            return Operand(None, self.convert(OwnDonor, value, place))
        if hint is Data:
            return self.needed(self.data(value, place))
        if dataclasses.is_dataclass(hint):
            return self.needed(self.declared(typing.cast(type, hint), value, place))
        if hint is Path and isinstance(value, str):
            return recipe_path(value, self.folder)
        if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
            return finite_number(value)
        if hint in (int, bool, str) and type(plain(value)) is hint:
            return plain(value)
        raise TypeError

    @property
    def forms(self) -> Mapping[str, type[Data]]:
        """The kinds of data that the recipe may use, by key."""
        return DATA.named(self.words)

    def data(self, value: Any, place: Place) -> Data | None:
        """Make data; a bare path must end with .npz or .csv, else ValueError.

        None after a problem.
        """
        if isinstance(value, str):
            suffix = Path(value).suffix.removeprefix(".")
            if suffix not in ("npz", "csv"):
                raise ValueError(f"write {value!r} with its kind: {', '.join(self.forms)}")
            value = {suffix: value}
        found: Data | None = self.one_of(self.forms, value, place)
        return found

    def one_of(self, declared: Mapping[str, type], value: Any, place: Place) -> Any:
        """Make an instance of the class whose key is in the mapping; None after a problem."""
        if not isinstance(value, Mapping):
            return None
        named = [kind for kind in declared if kind in value]
        if len(named) != 1:
            self.problem(place, f"give one of {', '.join(declared)}")
            return None
        allowed = keys_of(declared[named[0]])
        foreign = [name for name in value if name not in allowed]
        for name in foreign:
            self.problem(
                (*place, name),
                f"{name!r} does not go with {named[0]}; allowed: {', '.join(allowed)}",
                True,
            )
        if foreign or self.lacks(declared[named[0]], value, place):
            return None
        return self.declared(declared[named[0]], value, place)

    def lacks(self, declared: type, value: Mapping[str, Any], place: Place) -> bool:
        """Return whether a mapping lacks required keys of a class, and record problems."""
        lacking = [name for name in required_of(declared) if name not in value]
        for name in lacking:
            example = keys_of(declared)[name].metadata["example"]
            self.problem(place, missing(name, example), at_key=bool(place))
        return bool(lacking)

    def needed(self, made: Any) -> Any:
        """Return the object; raises TypeError if it is None, since problems are recorded then."""
        if made is None:
            raise TypeError
        return made


def _seeded(steps: Sequence[Step], seed: int) -> Iterator[Step]:
    """Yield the steps with their own sources of random numbers, independent of other steps.

    They are identified by name, else by op and count among the steps of that op.
    """
    counts: Counter[str] = Counter()
    for step in steps:
        counts[step.op.name] += 1
        own = step.name or f"{step.op.name} {counts[step.op.name]}"
        yield replace(step, op=replace(step.op, draws=Randomness(seed, own)))


def _measures(steps: Any, ops: Mapping[str, type[Op]]) -> bool:
    """Return whether a step measures the model or writes files itself."""
    named = {name for step in _list(steps) if isinstance(step, Mapping) for name in step}
    known = [ops[name] for name in named & ops.keys()]
    return any(issubclass(op, LiveOp) and not op.changes_weights for op in known)


def _without_own_weights(value: Any) -> Any:
    """Return an application with `weights: none` if it has other classes than ImageNet's."""
    is_other = isinstance(value, Mapping) and value.get("classes", 1000) != 1000
    return {"weights": "none", **value} if is_other else value


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
