"""Inspection and comparison of models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surgery.api._calls import as_a
from surgery.api.models import open
from surgery.execution.comparing import comparable
from surgery.execution.plan import default_threads
from surgery.report.difference import difference_text
from surgery.report.models import model_facts
from surgery.weights import difference
from surgery.weights.model import Model
from surgery.weights.selectors import Select

Given = str | Path | Model


@dataclass(frozen=True, repr=False)
class Difference(difference.Difference):
    """The difference from model a to model b; `str()` gives the output of `surgery diff`.

    `names` are the names of the two models in it.
    """

    names: tuple[str, str] = ("a", "b")

    def __str__(self) -> str:
        return difference_text(*self.names, self)


def inspect(
    model: Given, *, select: Any = None, stats: bool = False, hashes: bool = False
) -> dict[str, Any]:
    """Return a model's layers and weights as plain data, which `surgery inspect --json` prints.

    Args:
        model: a path, or a model.
        select: a selector, for only some of the weights.
        stats: add min, max, mean, std, zeros and non-finite of each weight, which reads it.
        hashes: add the SHA-256 of each weight, which reads it.

    Raises SelectorError if the selector matches nothing.
    """
    opened = open(model)
    weights = opened.weights if select is None else Select(select).weights(opened)
    facts = model_facts(opened, opened.origin, weights, stats, hashes)
    if stats or hashes:
        opened.check_read()
    return facts


def diff(a: Given, b: Given, *, select: Any = None, threads: int | None = None) -> Difference:
    """Compare two models, weight by weight and layer by layer.

    Args:
        a: a path, or a model.
        b: a path, or a model.
        select: a selector, for only some of the weights.
        threads: the number of threads; default: the number of cores, at most four.

    Returns the difference; its `is_none` is True if the models are equal.
    """
    given = [each if isinstance(each, Model) else Path(each) for each in (a, b)]
    left, right = comparable(given, None if select is None else Select(select))
    found = difference.differences(left, right, threads or default_threads())
    for model in (left, right):
        model.check_read()
    names = [each.origin if isinstance(each, Model) else str(each) for each in given]
    return as_a(Difference, found, names=tuple(names))
