"""What became of every run of a sweep, from its folder and the batch system's word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from surgery.sweeps.folder import Record, Run, SweepFolder
from surgery.sweeps.jobs import OPEN, job_states

WAITING, RUNNING, STOPPED = "waiting", "running", "stopped"


@dataclass(frozen=True)
class RunStatus:
    """A run, its state, and more about it where there is more."""

    run: Run
    state: str
    record: Record | None = None
    detail: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it goes on, or waits for its turn, without anybody's doing."""
        return self.state in OPEN


def statuses(folder: SweepFolder) -> Sequence[RunStatus]:
    """Every run's state: that of its record, else what its holder or its job tells."""
    return list(_statuses(folder))


def _statuses(folder: SweepFolder) -> Iterator[RunStatus]:
    jobs = job_states(folder)
    for run in folder.runs():
        record = folder.record(run.id)
        job = jobs.get(run.id)
        held = folder.holder(run.id)
        if held is not None and held.is_there:
            yield RunStatus(run, RUNNING, record, f"{held.host}, process {held.pid}")
        elif record is not None and (job is None or not job.is_newer(record)):
            told = job.detail if job is not None else ""
            yield RunStatus(run, record.state, record, record.message or told)
        elif job is not None:
            yield RunStatus(run, job.state, record, job.detail)
        elif held is not None:
            yield RunStatus(run, STOPPED, None, f"its process {held.pid} on {held.host} is gone")
        else:
            yield RunStatus(run, WAITING)
