"""The report of `diff`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from surgery.errors import printable
from surgery.report.tables import number, plural, table
from surgery.weights.comparison import Comparison
from surgery.weights.difference import Difference

_MOST = 20


def difference_facts(a: str, b: str, found: Difference) -> dict[str, Any]:
    """Return a difference as plain data, for `diff --json`."""
    return {
        "a": a,
        "b": b,
        "same": list(found.same),
        "changed": [
            {
                "address": address,
                **comparison.as_dict(),
                **({"dtypes": list(found.recast[address])} if address in found.recast else {}),
            }
            for address, comparison in found.changed.items()
        ],
        "shape_changed": [
            {"address": address, "shapes": [list(shape) for shape in shapes]}
            for address, shapes in found.reshaped.items()
        ],
        "renamed": [{"a": old, "b": new} for old, new in found.renamed.items()],
        "only_in_a": list(found.only_a),
        "only_in_b": list(found.only_b),
        "config": list(found.config),
    }


def difference_text(a: str, b: str, found: Difference) -> str:
    """Return a difference as text."""
    return "\n".join(_lines(a, b, found))


def _lines(a: str, b: str, found: Difference) -> Iterator[str]:
    yield printable(f"--- {a}")
    yield printable(f"+++ {b}")
    if found.is_none:
        yield f"{plural(len(found.same), 'weight')}, all the same"
        return
    if found.changed:
        header = ["changed", "elements", "max abs", "mean abs", "rel norm", "cosine", "zeros"]
        rows = [_row(name, each) for name, each in found.changed.items()]
        if len(rows) > 1:
            rows.append(_row("all of these", found.total))
        yield table(header, rows, right=range(1, 7))
    for address, (old, new) in found.recast.items():
        yield printable(f"dtype of {address}: {old} -> {new}")
    for address, shapes in found.reshaped.items():
        yield printable(f"shape of {address}: {list(shapes[0])} -> {list(shapes[1])}")
    for old, new in found.renamed.items():
        yield printable(f"renamed: {old} -> {new}")
    yield from _some("only in the first", found.only_a)
    yield from _some("only in the second", found.only_b)
    yield from map(printable, found.config)
    yield f"{plural(len(found.same), 'weight')} the same, {len(found.changed)} changed"


def _some(what: str, names: Sequence[str]) -> Iterator[str]:
    for name in names[:_MOST]:
        yield printable(f"{what}: {name}")
    if len(names) > _MOST:
        yield f"{what}: {len(names) - _MOST} more"


def _row(name: str, found: Comparison) -> list[str]:
    share = found.changed / found.count if found.count else 0.0
    zeros = f"{found.zeros[0]:,} -> {found.zeros[1]:,}"
    return [
        name,
        f"{share:.1%}",
        number(found.largest),
        number(found.mean),
        number(found.relative_norm),
        "-" if math.isnan(found.cosine) else f"{found.cosine:.6f}",
        f"{found.zeros[0]:,}" if found.zeros[0] == found.zeros[1] else zeros,
    ]


def matrix_text(names: Sequence[str], found: Mapping[tuple[int, int], Difference]) -> str:
    """Return a table of several models with the relative norm of each pair's difference."""
    rows = []
    for i, name in enumerate(names):
        cells = [_cell(found.get((i, j)), i == j) for j in range(len(names))]
        rows.append([f"{i + 1}. {name}", *cells])
    header = ["|b - a| / |a|", *(str(n + 1) for n in range(len(names)))]
    text = table(header, rows, right=range(1, len(header)))
    if any(_is_other(each) for each in found.values()):
        text += "\n* and weights or shapes in only one of them"
    return text


def _is_other(found: Difference) -> bool:
    return bool(found.reshaped or found.only_a or found.only_b or found.renamed)


def _cell(found: Difference | None, is_self: bool) -> str:
    if found is None:
        return "-" if is_self else ""
    if found.is_none:
        return "same"
    return number(found.total.relative_norm) + ("*" if _is_other(found) else "")
