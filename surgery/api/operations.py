"""Every op as a function of a model."""

from __future__ import annotations

import inspect
import keyword
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import surgery
from surgery.api._calls import Logged
from surgery.api.models import Model, as_model
from surgery.declared.fields import keys_of
from surgery.errors import UsageError, did_you_mean
from surgery.execution.live import LiveRunner
from surgery.execution.places import input_problem, path_problem
from surgery.execution.plan import default_threads
from surgery.execution.progress import Progress
from surgery.execution.writing import write
from surgery.formats.base import formats
from surgery.formats.upgrading import as_keras3
from surgery.live.permission import code_allowed
from surgery.ops.base import OPS, Op
from surgery.ops.live import LiveOp
from surgery.ops.structure import VerifiedOp
from surgery.recipe.parts import build_op
from surgery.recipe.schema import mapping_schema
from surgery.report.reference import op_text
from surgery.storage import locations
from surgery.weights import model as core
from surgery.weights.tensor import constant

_RETURNED = "returned.npz"
"""A placeholder for the file of a key whose arrays are returned instead."""


def op_function(name: str) -> Callable[..., Any]:
    """Return the op of that name as a function of a model and the op's keys.

    It returns the new model, or if the op only measures, its results. Raises AttributeError.
    """
    if (declared := OPS.find(name)) is None:
        hint = did_you_mean(name, dir(surgery))
        raise AttributeError(f"module 'surgery' has no attribute {name!r}{hint}")

    def apply(model: core.Model, *selectors: Any, seed: int = 0, **keys: Any) -> Model:
        if len(selectors) > 1:
            raise UsageError(f"surgery.{name} takes one selector, which may be a list")
        op = _built(declared, {**dict(zip(["select"], selectors, strict=False)), **keys}, seed)
        for path in op.inputs():
            locations.download(path)
        given = as_keras3(model) if op.needs_keras3 else model
        op = op.resolved(given)
        made = op.apply(given)
        if isinstance(op, VerifiedOp) and op.needs_live:
            with Logged(name, False) as told, LiveRunner(told, default_threads()) as runner:
                op.verified(given, made, runner)
            given.check_read()
        return as_model(made)

    def run(
        model: core.Model,
        *selectors: Any,
        seed: int = 0,
        progress: bool = False,
        allow_code: bool = False,
        **keys: Any,
    ) -> Model | Mapping[str, Any]:
        if selectors:
            raise UsageError(f"surgery.{name} is about the whole model; it takes keys only")
        with code_allowed(allow_code):
            return _run_live(declared, model, keys, seed, progress)

    function: Callable[..., Any] = run if issubclass(declared, LiveOp) else apply
    function.__name__ = function.__qualname__ = name
    function.__module__ = "surgery"
    function.__doc__ = op_text(name)
    function.__signature__ = _signature(declared)  # type: ignore[attr-defined]
    return function


def python_name(name: str) -> str:
    """Return a key as Python code writes it: `from` is `from_`."""
    return f"{name}_" if keyword.iskeyword(name) else name


def _signature(declared: type[Op]) -> inspect.Signature:
    """Return the function's signature: the model, the selector, and the keys by keyword."""
    facts = mapping_schema(declared, "")
    defaults = {name: key.get("default", ...) for name, key in facts["properties"].items()}
    defaults |= dict.fromkeys(facts.get("required", ()), inspect.Parameter.empty)
    is_live = issubclass(declared, LiveOp)
    if issubclass(declared, LiveOp) and declared.returned_key:
        defaults[declared.returned_key] = ...
    given = {python_name(name): defaults[name] for name in keys_of(declared)}
    given |= {"seed": 0, **({"progress": False, "allow_code": False} if is_live else {})}
    first = [inspect.Parameter("model", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    if "select" in given:
        first.append(first[0].replace(name="select", default=given.pop("select")))
    by_need = sorted(given, key=lambda name: given[name] is not inspect.Parameter.empty)
    kind = inspect.Parameter.KEYWORD_ONLY
    keys = [inspect.Parameter(name, kind, default=given[name]) for name in by_need]
    return inspect.Signature([*first, *keys])


def _built(declared: type[Op], keys: Mapping[str, Any], seed: int) -> Op:
    """Make an op from Python's keys: `from_` is from, and an array becomes a tensor."""
    given = {key.rstrip("_"): value for key, value in keys.items()}
    if declared.array_key and np.ndim(given.get(declared.array_key, 0)) > 0:
        values = np.array(given.pop(declared.array_key))  # a copy: the caller may change its own
        return build_op(declared.name, given, seed, values=constant(values))
    return build_op(declared.name, given, seed)


def _run_live(
    declared: type[Op], model: core.Model, keys: Mapping[str, Any], seed: int, progress: bool
) -> Model | Mapping[str, Any]:
    """Run a live step, in a process of its own."""
    assert issubclass(declared, LiveOp)
    returned = declared.returned_key
    is_returned = returned != "" and returned not in keys
    op = _built(declared, {**keys, **({returned: _RETURNED} if is_returned else {})}, seed)
    assert isinstance(op, LiveOp)
    for path in op.inputs():
        locations.download(path)
    if not is_returned:
        _check_places(op, model)
    op.apply(model)
    with Logged(declared.name, progress) as bar, LiveRunner(bar, default_threads()) as runner:
        done = op.run(model, runner)
        model.check_read()
        if is_returned:
            with np.load(next(iter(done.files.values()))) as arrays:
                return dict(arrays)
        if done.files:
            _put_in_place(done.files, bar)
    if op.changes_weights:
        return as_model(done.model)
    return dict(done.facts.get("metrics", done.facts.get("layers", done.facts)))


def _check_places(op: LiveOp, model: core.Model) -> None:
    """Raise UsageError if the step would overwrite an input or a folder."""
    inputs = [*model.inputs, *op.inputs()]
    found = [input_problem(path, inputs) for path in op.writes()]
    found += [path_problem(path, formats()["npz"], inputs) for path in op.outputs()]
    for problem in filter(None, found):
        raise UsageError(f"{op.name}: {problem}")


def _put_in_place(files: Mapping[Path, Path], bar: Progress) -> None:
    """Move the files of a step to their paths: all of them, or none."""

    def conclude(temporary: Mapping[Path, Path], _sums: Mapping[int, str]) -> Mapping[Path, Path]:
        for place, made in files.items():
            shutil.move(made, temporary[place])
        return {place: temporary[place] for place in files}

    write([], default_threads(), bar, conclude, extra=tuple(files))
