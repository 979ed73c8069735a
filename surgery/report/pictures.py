"""Plots by matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from surgery.errors import SurgeryError


def need_plotting() -> None:
    """Raise SurgeryError if matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise SurgeryError('a picture needs matplotlib: pip install "tf-surgery[plot]"') from None


def axes(x: str, y: str, title: str = "") -> Any:
    """Return the axes of a new figure."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(8, 5), layout="constrained").add_subplot()
    made.set_xlabel(x)
    made.set_ylabel(y)
    made.set_title(title)
    made.grid(alpha=0.3)
    return made


def as_shares(axis: Any) -> None:
    """Format an axis of shares as percentages."""
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(1))


def save(axes: Any, path: Path) -> None:
    """Write the figure (.png, .svg) reproducibly."""
    from matplotlib import rc_context

    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {".png": {"Software": None}, ".svg": {"Date": None}}.get(path.suffix)
    with rc_context({"svg.hashsalt": "surgery"}):
        axes.figure.savefig(path, dpi=150, metadata=metadata)
