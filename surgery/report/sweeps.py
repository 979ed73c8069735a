"""Sweeps told to people and to machines: the plan, the states, the table, a picture."""

from __future__ import annotations

import contextlib
import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surgery.declaration import Share
from surgery.errors import UsageError, did_you_mean
from surgery.recipe.matrix import shown as values_shown
from surgery.report import pictures
from surgery.report.tables import number, plural, shown, size, table
from surgery.run.metrics import is_lower_better
from surgery.sweep.folder import DONE, Record
from surgery.sweep.status import RunStatus

if TYPE_CHECKING:
    from surgery.sweep.planning import SweepPlan

_FEW = 10


def plan_facts(plan: SweepPlan, folder: Path) -> dict[str, Any]:
    """What a sweep will do, as plain data."""
    return {
        "recipe": plan.file.file,
        "folder": str(folder),
        "runs": [
            {
                "index": run.index,
                "id": run.id,
                "values": dict(run.values),
                "memory": run.memory,
                "bytes_read": run.bytes_read,
                "bytes_written": run.bytes_written,
            }
            for run in plan.runs
        ],
        "memory": plan.memory,
        "shared": plan.shared,
        "notes": list(plan.notes),
    }


def plan_text(plan: SweepPlan, folder: Path, jobs: int) -> str:
    """What a sweep will do."""
    read, written = (sum(getattr(run, name) for run in plan.runs)
                     for name in ("bytes_read", "bytes_written"))  # fmt: skip
    lines = [f"{shown(Path(plan.file.file))}: {plural(len(plan.runs), 'run')}", ""]
    lines += [f"{run.index:>5}  {values_shown(run.values)}" for run in plan.runs[:_FEW]]
    if len(plan.runs) > _FEW:
        lines.append(f"  ...  and {len(plan.runs) - _FEW:,} more")
    lines.append("")
    lines += [f"note: {note}" for note in plan.notes]
    if plan.shared:
        lines.append(f"{plural(plan.shared, 'common head')} of live steps, each done once")
    lines.append(
        f"reads {size(read)}, writes {size(written)} in all; a run takes at most "
        f"{size(plan.memory)} of memory, {plural(jobs, 'run')} at once; goes to {shown(folder)}"
    )
    return "\n".join(lines)


def ended_text(record: Record) -> str:
    """A line for a run that has ended."""
    said = f" in {record.seconds:.1f} s" if record.state == DONE else f": {_first(record.message)}"
    return f"run {_run(record.index, record.values)}: {record.state}{said}"


def _run(index: int, values: Mapping[str, Any]) -> str:
    return f"{index} ({values_shown(values)})" if values else str(index)


def _first(message: str) -> str:
    return message.partition("\n")[0]


def status_facts(found: Sequence[RunStatus]) -> dict[str, Any]:
    """The states of all runs, as plain data."""
    return {
        "states": dict(Counter(each.state for each in found)),
        "runs": [
            {
                "index": each.run.index,
                "id": each.run.id,
                "values": dict(each.run.values),
                "state": each.state,
                "detail": each.detail,
            }
            for each in found
        ],
    }


def status_text(found: Sequence[RunStatus]) -> str:
    """How many runs are in which state, and those that are neither done nor waiting."""
    return "\n".join([counts_text(found), *_told(found)])


def counts_text(found: Sequence[RunStatus]) -> str:
    """`24 runs: 22 done, 1 failed, 1 waiting`."""
    states = Counter(each.state for each in found)
    counts = ", ".join(f"{count:,} {state}" for state, count in states.most_common())
    return f"{plural(len(found), 'run')}: {counts}"


def _told(found: Sequence[RunStatus]) -> Iterator[str]:
    for each in found:
        if each.detail and (each.state != DONE or "requeued" in each.detail):
            run = _run(each.run.index, each.run.values)
            yield f"{each.state}: run {run}: {_first(each.detail)}"


Row = dict[str, Any]


def rows(found: Sequence[RunStatus], sort: str | None = None) -> list[Row]:
    """A row for each run: its values, metrics, sparsity, bytes and seconds.

    Sorted by a column with the best first; raises UsageError for a column that is not there.
    """
    parameters = dict.fromkeys(name for each in found for name in each.run.values)
    metrics = dict.fromkeys(name for each in found if each.record for name in each.record.metrics)
    made = [_row(each, parameters, metrics) for each in found]
    if sort is None:
        return made
    known = list(made[0]) if made else []
    if sort not in known:
        raise UsageError(
            f"there is no column {sort!r}{did_you_mean(sort, known)}; there are {', '.join(known)}"
        )
    filled = [row for row in made if row[sort] is not None]
    rest = [row for row in made if row[sort] is None]
    # Numbers before text, so that a column of both has an order.
    falls = sort in metrics and not is_lower_better(sort)
    filled.sort(key=lambda row: _rank(row[sort], falls))
    return [*filled, *rest]


def _rank(value: Any, falls: bool) -> tuple[bool, float, str]:
    amount = _value(value)
    if amount is not None:
        return False, -amount if falls else amount, ""
    return True, 0.0, str(value)


def _row(each: RunStatus, parameters: Mapping[str, None], metrics: Mapping[str, None]) -> Row:
    record = each.record
    taken = {"run", "state", "sparsity", "bytes", "seconds"}
    return {
        "run": each.run.index,
        **{_column(name, taken): each.run.values.get(name) for name in parameters},
        "state": each.state,
        **{_column(name, {*taken, *parameters}): record.metrics.get(name) if record else None
           for name in metrics},
        "sparsity": record.sparsity if record else None,
        "bytes": record.bytes if record and record.state == DONE else None,
        "seconds": record.seconds if record else None,
    }  # fmt: skip


def _column(name: str, taken: set[str]) -> str:
    return f"{name} " if name in taken else name


def table_text(found: Sequence[RunStatus], sort: str | None = None) -> str:
    """The rows for people; the best by the first metric, or the one sorted by, has a star."""
    made = rows(found, sort)
    if not made:
        return "no runs"
    metrics = {name for each in found if each.record for name in each.record.metrics}
    by = sort if sort in metrics else next((name for name in made[0] if name in metrics), None)
    best = _best(made, by) if by else None
    header = [name for name in made[0] if name == "run" or any(r[name] is not None for r in made)]
    lines = [[_cell(name, row[name], row is best) for name in header] for row in made]
    right = [i for i, name in enumerate(header)
             if any(isinstance(row[name], int | float) for row in made)]  # fmt: skip
    text = table(header, lines, right)
    return text if best is None else f"{text}\n* the best {by}"


def _best(made: Sequence[Row], by: str) -> Row | None:
    filled = [row for row in made if row[by] is not None and row[by] == row[by]]
    choose = min if is_lower_better(by) else max
    return choose(filled, key=lambda row: row[by]) if filled else None


def _cell(name: str, value: Any, is_best: bool) -> str:
    if value is None:
        return "-"
    if name == "run":
        return f"{'*' if is_best else ''}{value}"
    if name == "bytes":
        return size(value)
    if name == "sparsity":
        return f"{value * 100:.4g}%"
    if name == "seconds":
        return f"{value:.1f}"
    return number(value) if isinstance(value, float) else str(value)


def table_csv(made: Sequence[Row]) -> str:
    """The rows as CSV, with nothing rounded."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(made[0]) if made else ["run"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(made)
    return text.getvalue().rstrip("\n")


def draw(found: Sequence[RunStatus], x: str, y: str, by: str | None, path: Path) -> None:
    """One column over another, a line for each value of a third; raises UsageError."""
    made = [row for row in rows(found, x) if row["state"] == DONE]
    for name in filter(None, (x, y, by)):
        if made and name not in made[0]:
            known = ", ".join(made[0])
            raise UsageError(f"there is no column {name!r}; there are {known}")
    points = [row for row in made if row[x] is not None and _value(row[y]) is not None]
    if not points:
        raise UsageError(f"no run has both {x} and {y} as numbers yet")
    axes = pictures.axes(x, y)
    for value in dict.fromkeys(row[by] if by else None for row in points):
        line = [row for row in points if not by or row[by] == value]
        at = [_value(row[x]) for row in line]
        across = [str(row[x]) for row in line] if None in at else at
        label = f"{by}={value}" if by else None
        axes.plot(across, [_value(row[y]) for row in line], marker="o", label=label)
    if by:
        axes.legend(fontsize="small", loc="best")
    pictures.save(axes, path)


def _value(value: Any) -> float | None:
    """A number to draw; 10% is 0.1."""
    if isinstance(value, str) and value.endswith("%"):
        with contextlib.suppress(ValueError):
            return float(Share.parse(value).fraction)
    return float(value) if isinstance(value, int | float) else None
