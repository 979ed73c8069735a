"""Reports on sweeps: the plan, the states, the table, a plot."""

from __future__ import annotations

import contextlib
import csv
import io
from collections import Counter
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surgery.declared.fields import Share
from surgery.errors import UsageError, did_you_mean
from surgery.execution.metrics import is_lower_better, unknown_direction
from surgery.recipe.matrix import Values, as_text
from surgery.recipe.matrix import shown as values_shown
from surgery.report import pictures
from surgery.report.tables import number, plural, shown, size, table
from surgery.sweeps.folder import DONE, FAILED, KILLED, TIMEOUT, Record, SweepFolder
from surgery.sweeps.status import RunStatus

if TYPE_CHECKING:
    from surgery.recipe.cluster import Cluster
    from surgery.sweeps.planning import PlannedRun, SweepPlan

_FEW = 10


def plan_facts(plan: SweepPlan, folder: Path, done: Container[str]) -> dict[str, Any]:
    """Return a sweep's plan as plain data; `done` has the ids of settled runs."""
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
                "is_done": run.id in done,
            }
            for run in plan.runs
        ],
        "memory": plan.memory,
        "shared": plan.shared,
        "notes": list(plan.notes),
    }


def plan_text(
    plan: SweepPlan, folder: Path, done: Collection[str], jobs: int, cluster: Cluster | None
) -> str:
    """Return a sweep's plan as text."""
    todo = [run for run in plan.runs if run.id not in done]
    read, written = (sum(getattr(run, name) for run in todo)
                     for name in ("bytes_read", "bytes_written"))  # fmt: skip
    lines = [f"{shown(Path(plan.file.file))}: {plural(len(plan.runs), 'run')}", ""]
    lines += [f"{run.index:>5}  {values_shown(run.values)}" for run in plan.runs[:_FEW]]
    if len(plan.runs) > _FEW:
        lines.append(f"  ...  and {len(plan.runs) - _FEW:,} more")
    lines.append("")
    lines += [f"note: {note}" for note in plan.notes]
    if plan.shared:
        lines.append(f"{plural(plan.shared, 'common head')} of live steps, each done once")
    if done:
        lines.append(_before(plan, len(done), todo))
    if cluster is not None:
        minutes, cores = plural(cluster.time.minutes, "minute"), plural(cluster.cpus or 1, "core")
        lines.append(
            f"a job has {minutes}, {cores}, {cluster.mebibytes(plan.memory):,} MiB of memory"
        )
    lines.append(
        f"reads {size(read)}, writes {size(written)} of weights\n"
        f"a run takes at most {size(plan.memory)} of memory, {plural(jobs, 'run')} at once\n"
        f"goes to {shown(folder)}"
    )
    return "\n".join(lines)


def begun(plan: SweepPlan, todo: Sequence[PlannedRun], gone: Sequence[Values]) -> Iterator[str]:
    """Yield the lines at the start of a sweep that was begun before."""
    if gone:
        yield (f"{plural(len(gone), 'former run')}, such as {values_shown(gone[0])}, no longer in "
               "the sweep; outputs and records are kept")  # fmt: skip
    if len(todo) < len(plan.runs):
        yield _before(plan, len(plan.runs) - len(todo), todo)


def _before(plan: SweepPlan, done: int, todo: Sequence[PlannedRun]) -> str:
    return f"{plural(len(plan.runs), 'run')}: {done:,} done or on their way, {len(todo):,} to do"


def ended_text(record: Record) -> str:
    """Return the line for a run that has ended."""
    more = f" in {record.seconds:.1f} s" if record.state == DONE else f": {_first(record.message)}"
    return f"run {_run(record.index, record.values)}: {record.state}{more}"


def _run(index: int, values: Mapping[str, Any]) -> str:
    return f"{index} ({values_shown(values)})" if values else str(index)


def _first(message: str) -> str:
    return message.partition("\n")[0]


def status_facts(found: Sequence[RunStatus]) -> dict[str, Any]:
    """Return the states of all runs as plain data."""
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


def status_text(found: Sequence[RunStatus], folder: SweepFolder) -> str:
    """Return the number of runs in each state, and details of runs not done or waiting."""
    return "\n".join([counts_text(found), *_detail_lines(found, folder)])


def counts_text(found: Sequence[RunStatus]) -> str:
    """Return a text as `24 runs: 22 done, 1 failed, 1 waiting`."""
    states = Counter(each.state for each in found)
    counts = ", ".join(f"{count:,} {state}" for state, count in states.most_common())
    return f"{plural(len(found), 'run')}: {counts}"


def _detail_lines(found: Sequence[RunStatus], folder: SweepFolder) -> Iterator[str]:
    alike: dict[tuple[str, str], list[RunStatus]] = {}
    for each in found:
        if each.detail and (each.state != DONE or "requeued" in each.detail):
            alike.setdefault((each.state, _first(each.detail)), []).append(each)
    printed = Counter[str]()
    for (state, detail), runs in alike.items():
        printed[state] += 1
        if printed[state] > _FEW:
            continue
        run = _run(runs[0].run.index, runs[0].run.values)
        more = f" and {len(runs) - 1:,} more" if len(runs) > 1 else ""
        yield f"{state}: run {run}{more}: {detail}"
        log = folder.log(runs[0].run.id)
        if state in _WITH_LOG and log.exists():
            yield f"  its log: {shown(log)}"
    for state, count in printed.items():
        if count > _FEW:
            yield f"... and {count - _FEW:,} more {state}; --json shows all"
    if faults := sum(1 for each in found if each.record and each.record.is_recipes_fault):
        yield (f"{plural(faults, 'run')} failed because of the recipe: change it "
               "or its inputs, then start the sweep again")  # fmt: skip


_WITH_LOG = (FAILED, KILLED, TIMEOUT, "out of memory")


Row = dict[str, Any]


@dataclass(frozen=True)
class Better:
    """The metric that decides the best run, and its direction, as far as known."""

    metric: str | None = None
    direction: str | None = None

    @classmethod
    def of(cls, objective: Mapping[str, Any] | None, sort: str | None, given: str | None) -> Better:
        """Combine a recipe's objective with the options --sort and --direction."""
        objective = objective or {}
        metric = sort or objective.get("metric")
        own = objective.get("direction") if metric == objective.get("metric") else None
        return cls(metric, given or own)

    def is_lower(self, metric: str) -> bool | None:
        """Return whether lower values of a metric are better; None if unknown."""
        return is_lower_better(metric, self.direction if self.metric in (None, metric) else None)


_BY_NAME = Better()


def rows(
    found: Sequence[RunStatus], sort: str | None = None, better: Better | None = _BY_NAME
) -> list[Row]:
    """Return a row for each run: its values, metrics, sparsity, bytes and seconds.

    They are sorted by a metric with the best first, or by another column (or without `better`) in
    ascending order. Raises UsageError for an unknown column, or if the better values of a metric
    are unknown.
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
    falls = False
    if sort in metrics and better is not None:
        lower = better.is_lower(sort)
        if lower is None:
            raise UsageError(unknown_direction(sort, "--direction"))
        falls = not lower
    # Numbers sort before text, as a column may have both.
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


def table_text(found: Sequence[RunStatus], sort: str | None, better: Better) -> str:
    """Return the rows as text; the best run by the objective, or the first metric, has a star."""
    made = rows(found, sort, better)
    if not made:
        return "no runs"
    metrics = {name for each in found if each.record for name in each.record.metrics}
    first = next((name for name in made[0] if name in metrics), None)
    by = better.metric if better.metric in metrics else first
    lower = better.is_lower(by) if by else None
    best = _best(made, by, lower) if by and lower is not None else None
    header = [name for name in made[0] if name == "run" or any(r[name] is not None for r in made)]
    lines = [[_cell(name, row[name], best is not None and row[by or ""] == best)
              for name in header] for row in made]  # fmt: skip
    right = [i for i, name in enumerate(header)
             if any(isinstance(row[name], int | float) for row in made)]  # fmt: skip
    spare = ["bytes", "seconds", *(["state"] if len({row["state"] for row in made}) == 1 else [])]
    text = table(header, lines, right, [i for i, name in enumerate(header) if name in spare])
    return text if best is None else f"{text}\n* the best {by} ({'lowest' if lower else 'highest'})"


def _best(made: Sequence[Row], by: str, lower: bool) -> float | None:
    """Return the best value of a metric, the smallest if `lower`."""
    filled = [row[by] for row in made if row[by] is not None and row[by] == row[by]]
    return (min if lower else max)(filled, default=None)


def _cell(name: str, value: Any, is_best: bool) -> str:
    if value is None:
        return "-"
    if name == "run":
        return f"{'* ' if is_best else ''}{value}"
    if name == "bytes":
        return size(value)
    if name == "sparsity":
        return f"{value * 100:.4g}%"
    if name == "seconds":
        return f"{value:.1f}"
    return number(value) if isinstance(value, float) else as_text(value)


def table_csv(made: Sequence[Row]) -> str:
    """Return the rows as CSV, without rounding."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(made[0]) if made else ["run"], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: as_text(value) if isinstance(value, list | dict) else value
                      for name, value in row.items()} for row in made)  # fmt: skip
    return text.getvalue().rstrip("\n")


def draw(
    found: Sequence[RunStatus], x: str, y: str, by: str | None, path: Path, title: str
) -> None:
    """Plot one column over another, with a line for each value of a third; raises UsageError."""
    made = [row for row in rows(found, x, None) if row["state"] == DONE]
    for name in filter(None, (x, y, by)):
        if made and name not in made[0]:
            known = ", ".join(made[0])
            raise UsageError(f"there is no column {name!r}; there are {known}")
    points = [row for row in made if row[x] is not None and _value(row[y]) is not None]
    if not points:
        raise UsageError(f"no run that is done has a number for {y}, and {x}")
    numbers = [at for row in points if (at := _value(row[x])) is not None]
    is_measured = len(numbers) == len(points)
    axes = pictures.axes(x, y, title)
    for value in dict.fromkeys(row[by] if by else None for row in points):
        line = [row for row in points if not by or row[by] == value]
        across = [_value(row[x]) if is_measured else str(row[x]) for row in line]
        # Points of equal x are not joined: another parameter varies, too.
        joined = "-" if is_measured and len(set(across)) == len(across) else "none"
        label = f"{by}={value}" if by else None
        axes.plot(across, [_value(row[y]) for row in line], ls=joined, marker="o", label=label)
    if is_measured and min(numbers) > 0 and max(numbers) >= _MANY_TIMES * min(numbers):
        axes.set_xscale("log")
    for axis, name in ((axes.xaxis, x), (axes.yaxis, y)):
        if name == "sparsity" or all(str(row[name]).endswith("%") for row in points):
            pictures.as_shares(axis)
    if by:
        axes.legend(fontsize="small", loc="best")
    pictures.save(axes, path)


_MANY_TIMES = 1000


def _value(value: Any) -> float | None:
    """Return a value as a number to plot ("10%" is 0.1); None if it is not one."""
    if isinstance(value, str) and value.endswith("%"):
        with contextlib.suppress(ValueError):
            return float(Share.parse(value).fraction)
    return float(value) if isinstance(value, int | float) else None
