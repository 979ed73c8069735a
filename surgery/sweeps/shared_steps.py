"""Live steps that several runs of a sweep begin with: run once, and cached.

Steps that stream are not cached: reading their results would take as long as computing them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

from surgery.errors import UsageError
from surgery.execution.live import Memo
from surgery.execution.manifest import packages_of, runs_code
from surgery.execution.seen import key
from surgery.recipe.language import Recipe
from surgery.recipe.params import references
from surgery.recipe.reading import RecipeFile
from surgery.storage.cache import STEPS, cache_folder, prune
from surgery.storage.states import named_states
from surgery.sweeps.claims import take, waiting

LIMIT = 10 << 30
"""The default size of the cache in bytes; SURGERY_CACHE_BYTES overrides it."""


def kept_steps() -> Path:
    """Return the folder of cached steps."""
    return cache_folder() / STEPS


def is_kept(name: str) -> bool:
    """Return whether the steps of that name are cached."""
    return (kept_steps() / name).exists()


class SharedSteps:
    """The first steps that the runs of a recipe have in common."""

    def __init__(self, file: RecipeFile) -> None:
        self._file = file
        self._counted: dict[frozenset[str], Counter[str]] = {}

    def memo(self, recipe: Recipe, threads: int) -> Memo | None:
        """Return a memo of the run's shared live steps; None if it shares none."""
        keys = list(self._keys(recipe, threads))

        def recall(number: int, do: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
            return once(kept_steps() / keys[number], do) if number < len(keys) else do()

        return recall if keys else None

    def first(self, recipe: Recipe, threads: int) -> str | None:
        """Return the name of the first live step if it is shared with other runs; else None."""
        name = next(self._keys(recipe, threads), None)
        if name is not None:
            limit()  # refuses a malformed limit before any work
        return name

    def _keys(self, recipe: Recipe, threads: int) -> Iterator[str]:
        """Yield a name for the steps up to each live step that is shared with other runs."""
        index = recipe.index
        if index is None or runs_code(recipe):
            return
        live = (i for i, step in enumerate(recipe.steps) if step.op.needs_live)
        shared = list(takewhile(lambda number: self._is_shared(number, index), live))
        if not shared:
            return
        source, packages = recipe.load.opened(recipe.seed).inputs, packages_of(recipe)
        for number in shared:
            steps = recipe.steps[: number + 1]
            given = [path for step in steps for path in step.op.inputs()]
            given += [path for step in steps for donor in step.op.donors()
                      for path in donor.model.inputs]  # fmt: skip
            head = [recipe.resolved["load"], recipe.resolved["steps"][: number + 1]]
            facts = [
                key("", recipe.seed, head, with_keras=True, packages=packages),
                threads,
                named_states([*source, *given]),
            ]
            yield hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]

    def _is_shared(self, number: int, index: int) -> bool:
        runs = self._file.runs or ()
        names = self._named(number)
        if names & {"index", "id"}:
            return False
        return self._counts(frozenset(names))[_choice(runs[index], names)] > 1

    def _named(self, number: int) -> set[str]:
        """Return the parameters on which the model after a step depends."""
        value = self._file.document.value
        found: set[str] = set()
        left = set(references([value.get("load"), value.get("seed"), value["steps"][: number + 1]]))
        while left:  # a parameter's default may refer to others
            found |= left
            defaults = value.get("params", {})
            left = set(references([defaults.get(name) for name in left])) - found
        return found

    def _counts(self, names: frozenset[str]) -> Counter[str]:
        if names not in self._counted:
            runs = self._file.runs or ()
            self._counted[names] = Counter(_choice(run, names) for run in runs)
        return self._counted[names]


def _choice(values: Mapping[str, Any], names: set[str] | frozenset[str]) -> str:
    return json.dumps({name: values.get(name) for name in sorted(names)})


def once(folder: Path, do: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return a folder's cached result, computed by `do` in one process while others wait."""
    while True:
        if (kept := _kept(folder)) is not None:
            return kept
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            claim = take(folder)
        except OSError:  # without a writable cache, just compute
            return do()
        if claim is None:
            for _ in waiting(folder):
                pass
            continue
        with claim:
            if (kept := _kept(folder)) is not None:
                return kept
            made = do()
            with contextlib.suppress(OSError, UsageError):  # a full disk: not cached
                _keep(folder, made)
            return made


def _kept(folder: Path) -> Mapping[str, Any] | None:
    try:
        text = (folder / "facts.json").read_text(encoding="utf-8")
    except OSError:
        return None
    try:
        facts = dict(json.loads(text))
        if "path" in facts:
            facts["path"] = folder / facts["path"]
            if facts["path"].stat().st_size != facts.pop("bytes"):
                raise ValueError
    except (OSError, ValueError, TypeError, KeyError):  # damaged
        shutil.rmtree(folder, ignore_errors=True)
        return None
    with contextlib.suppress(OSError):  # a read-only cache
        os.utime(folder)
    return facts


def _keep(folder: Path, made: Mapping[str, Any]) -> None:
    new = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    new.mkdir()
    try:
        facts = dict(made)
        if "path" in facts:
            path = Path(facts["path"])
            shutil.copyfile(path, new / path.name)
            facts |= {"path": path.name, "bytes": path.stat().st_size}
        (new / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
        new.rename(folder)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    prune(limit())


def limit() -> int:
    """Return the size limit of the cache in bytes; raises UsageError for a malformed variable."""
    given = os.environ.get("SURGERY_CACHE_BYTES") or str(LIMIT)
    if not given.isdigit():
        raise UsageError(f"SURGERY_CACHE_BYTES={given}: give a number of bytes")
    return int(given)
