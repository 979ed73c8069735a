"""Text for people: sizes, numbers, and tables that fit the terminal."""

from __future__ import annotations

import math
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from surgery.errors import printable
from surgery.storage import locations

NARROWEST = 40


def size(count: int) -> str:
    """Return bytes in decimal units: 553.5 MB."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def flops_changed(before: int | None, after: int | None) -> str:
    """Return FLOPs before and after in one unit: 116.2 -> 44.2 MFLOPs; empty if they look equal.

    `?` is unknown.
    """
    largest = max(before or 0, after or 0)
    power = min(max(len(str(largest)) - 1, 0) // 3, 4)
    old, new = ("?" if count is None else f"{count / 1000**power:.4g}" for count in (before, after))
    return "" if old == new else f"{old} -> {new} {('', 'k', 'M', 'G', 'T')[power]}FLOPs"


def number(value: float | None) -> str:
    """Return a number with four significant digits; `-` for None and NaN."""
    return "-" if value is None or math.isnan(value) else f"{value:.4g}"


def plural(count: int, noun: str, ending: str = "s") -> str:
    """Return a count with its noun: `1 weight`, `1,000 weights`."""
    return f"{count:,} {noun}{'' if count == 1 else ending}"


def shown(path: Path) -> str:
    """Return a path relative to the working folder if it is inside; a twin as its URL."""
    if url := locations.url_of(path):
        return printable(url)
    resolved = path.resolve()
    here = Path.cwd()
    return printable(str(resolved.relative_to(here) if resolved.is_relative_to(here) else resolved))


def width() -> int | None:
    """Return the terminal's width in columns, at least NARROWEST; None without a terminal."""
    if not sys.stdout.isatty():
        return None
    return max(NARROWEST, shutil.get_terminal_size().columns)


PAGE = 79
"""The width of text that is not fitted to the terminal, such as help."""


def wrapped(text: str, first: str = "", rest: str = "") -> str:
    """Wrap text between words; `first` and `rest` are the indentations."""
    return textwrap.fill(text, PAGE, initial_indent=first, subsequent_indent=rest,
                         break_on_hyphens=False, break_long_words=False)  # fmt: skip


def listing(meanings: Mapping[str, str]) -> str:
    """Return names with their meanings in a second column."""
    room = max(map(len, meanings)) + 2
    return "\n".join(
        wrapped(f"{name:{room}}{meaning}", "  ", "  " + " " * room)
        for name, meaning in meanings.items()
    )


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Sequence[int] = (),
    spare: Sequence[int] = (),
) -> str:
    """Return columns two spaces apart; those in `right` are right-aligned.

    If the terminal is too narrow, the columns in `spare` are left out, the last ones first; then
    the first column gets lines of its own.
    """
    lines = [[printable(cell) for cell in line] for line in (header, *rows)]
    limit = width()
    if limit is not None and max(len(line) for line in _columns(lines, right)) > limit:
        if spare:
            last = spare[-1]
            kept = [[*line[:last], *line[last + 1 :]] for line in lines]
            shifted = [i - (i > last) for i in right if i != last]
            return table(kept[0], kept[1:], shifted, spare[:-1])
        rest = _columns([["", *line[1:]] for line in lines], right)
        titles = [line[0] for line in lines]
        return "\n".join(f"{t}\n{row}" if t else row for t, row in zip(titles, rest, strict=True))
    return "\n".join(_columns(lines, right))


def _columns(lines: Sequence[Sequence[str]], right: Sequence[int]) -> list[str]:
    padded = []
    for i, cells in enumerate(zip(*lines, strict=True)):
        room, pad = max(map(len, cells)), str.rjust if i in right else str.ljust
        padded.append([pad(cell, room) for cell in cells])
    return ["  ".join(cells).rstrip() for cells in zip(*padded, strict=True)]
