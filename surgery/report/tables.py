"""Text for people: sizes, numbers, and tables that fit the terminal."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

NARROWEST = 40


def size(count: int) -> str:
    """Bytes in decimal units: 553.5 MB."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def number(value: float | None) -> str:
    """Four significant digits; `-` for what is not known."""
    return "-" if value is None or math.isnan(value) else f"{value:.4g}"


def plural(count: int, noun: str, ending: str = "s") -> str:
    """`1 weight`, `1,000 weights`."""
    return f"{count:,} {noun}{'' if count == 1 else ending}"


def shown(path: Path) -> str:
    """A path as short as it can be said from here."""
    resolved = path.resolve()
    here = Path.cwd()
    return str(resolved.relative_to(here) if resolved.is_relative_to(here) else resolved)


def width() -> int | None:
    """The terminal's columns; None where nobody looks at one, so that nothing is cut."""
    if not sys.stdout.isatty():
        return None
    return max(NARROWEST, shutil.get_terminal_size().columns)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Columns two spaces apart; `right` names those that are set to the right.

    Where the terminal is too narrow, the first column is cut in its middle.
    """
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    limit = width()
    over = sum(widths) + 2 * (len(widths) - 1) - limit if limit else 0
    if over > 0:
        widths[0] = max(12, widths[0] - over)
    return "\n".join(_row(line, widths, right) for line in lines)


def _row(cells: Sequence[str], widths: Sequence[int], right: Sequence[int]) -> str:
    shown = [_cut(cell, room) for cell, room in zip(cells, widths, strict=True)]
    padded = [
        cell.rjust(room) if i in right else cell.ljust(room)
        for i, (cell, room) in enumerate(zip(shown, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()


def _cut(text: str, room: int) -> str:
    if len(text) <= room:
        return text
    tail = (room - 1) * 2 // 3
    return text[: room - 1 - tail] + "…" + text[len(text) - tail :]
