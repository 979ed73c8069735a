"""The report of `sensitivity`: a table, plain data, a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from surgery.execution.measuring import Point
from surgery.report import pictures
from surgery.report.tables import number, table

_TITLES = {"zero": "share of zeros", "noise": "noise, in standard deviations", "bits": "bits"}


def facts(found: Sequence[Point]) -> dict[str, Any]:
    """Return the points as plain data."""
    return {
        "base": dict(found[0].metrics),
        "points": [
            {"weight": p.weight, "level": float(_value(p.level)), "metrics": dict(p.metrics)}
            for p in found[1:]
        ],
    }


def text(found: Sequence[Point], metric: str, kind: str) -> str:
    """Return a table with a row for each weight and a column for each level."""
    levels = list(dict.fromkeys(point.level for point in found[1:]))
    header = [f"{metric} by {_TITLES[kind]}", *(_label(level, kind) for level in levels)]
    rows = [
        [weight, *(number(points[level]) for level in levels)]
        for weight, points in _by_weight(found, metric).items()
    ]
    base = f"unchanged: {metric} {number(found[0].metrics[metric])}"
    return f"{table(header, rows, right=range(1, len(header)))}\n{base}"


def _by_weight(found: Sequence[Point], metric: str) -> Mapping[str, Mapping[str, float]]:
    rows: dict[str, dict[str, float]] = {}
    for point in found[1:]:
        rows.setdefault(point.weight, {})[point.level] = point.metrics[metric]
    return rows


def _value(level: str) -> float:
    top, _, bottom = level.partition("/")
    return float(top) / float(bottom or 1)


def _label(level: str, kind: str) -> str:
    return f"{_value(level):.4g}" if kind != "zero" else f"{_value(level) * 100:.4g}%"


def draw(found: Sequence[Point], metric: str, kind: str, path: Path) -> None:
    """Plot the metric over the levels, with a line for each weight."""
    axes = pictures.axes(_TITLES[kind], metric)
    for weight, points in _by_weight(found, metric).items():
        levels = [_value(level) for level in points]
        axes.plot(levels, list(points.values()), marker="o", label=weight)
    axes.axhline(found[0].metrics[metric], color="grey", linestyle=":", label="unchanged")
    if kind == "bits":
        axes.invert_xaxis()
    axes.legend(fontsize="small", loc="best")
    pictures.save(axes, path)
