"""The status of every run of a sweep, by its folder and the batch system."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from surgery.sweeps.folder import Record, Run, SweepFolder
from surgery.sweeps.jobs import OPEN, job_states

WAITING, RUNNING, STOPPED = "waiting", "running", "stopped"


@dataclass(frozen=True)
class RunStatus:
    """A run, its state, and details if there are any."""

    run: Run
    state: str
    record: Record | None = None
    detail: str = ""

    @property
    def is_open(self) -> bool:
        """True if the run will proceed by itself."""
        return self.state in OPEN


def statuses(folder: SweepFolder) -> Sequence[RunStatus]:
    """Return every run's status: of its record, else of its process or its job."""
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
            detail = job.detail if job is not None else ""
            yield RunStatus(run, record.state, record, record.message or detail)
        elif job is not None:
            yield RunStatus(run, job.state, record, job.detail)
        elif held is not None:
            yield RunStatus(run, STOPPED, None, f"its process {held.pid} on {held.host} is gone")
        else:
            yield RunStatus(run, WAITING)
