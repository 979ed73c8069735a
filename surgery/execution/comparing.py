"""Preparation of models for comparison: opened, with addresses, and selected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from surgery.formats.base import open_model
from surgery.weights.model import Model
from surgery.weights.selectors import Select


def comparable(given: Sequence[Path | Model], select: Select | None = None) -> list[Model]:
    """Open models for comparison, with matching addresses.

    Models of weights only get their addresses from the first model with an architecture. With
    `select`, each keeps only the matching weights.
    """
    opened = [each if isinstance(each, Model) else open_model(each) for each in given]
    known = next((m.architecture for m in opened if m.architecture is not None), None)
    for place, (path, model) in enumerate(zip(given, opened, strict=True)):
        if known is None or model.architecture is not None or isinstance(path, Model):
            continue
        named = open_model(path, known)
        if {w.address for w in named.weights} <= set(known.weight_order):
            opened[place] = named
    if select is None:
        return opened
    return [replace(model, weights=select.matches(model)) for model in opened]
