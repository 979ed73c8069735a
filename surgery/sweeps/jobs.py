"""The state of a sweep's jobs in Slurm."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from surgery.sweeps.folder import KILLED, TIMEOUT, Record, SweepFolder

STATES = {
    "PENDING": "pending",
    "RUNNING": "running",
    "COMPLETING": "running",
    "CONFIGURING": "pending",
    "SUSPENDED": "pending",
    "REQUEUED": "requeued",
    "REQUEUE_HOLD": "requeued",
    "SPECIAL_EXIT": "requeued",
    "COMPLETED": "lost",
    "FAILED": KILLED,
    "TIMEOUT": TIMEOUT,
    "DEADLINE": TIMEOUT,
    "NODE_FAIL": "node failed",
    "BOOT_FAIL": "node failed",
    "OUT_OF_MEMORY": "out of memory",
    "CANCELLED": "cancelled",
    "PREEMPTED": "preempted",
    "REVOKED": "cancelled",
}
"""The state of a run without a record, by Slurm's state of its job."""


OPEN = ("running", "pending", "requeued")
"""The states of runs that will proceed by themselves."""


def output_of(*command: str) -> str | None:
    """Run a command and return its standard output; None if it fails or does not exist."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


@dataclass(frozen=True)
class JobState:
    """The state of a run's last job in the batch system."""

    state: str
    detail: str
    submitted: float

    @property
    def is_open(self) -> bool:
        """True if the job may still be pending or running."""
        return self.state in (*OPEN, "unknown")

    def is_newer(self, record: Record) -> bool:
        """Return whether it was submitted after the record, and so is more recent."""
        return self.submitted > record.ended


def job_states(folder: SweepFolder) -> Mapping[str, JobState]:
    """Return the state of each submitted run in Slurm, by run id."""
    submitted = folder.jobs()
    if not submitted:
        return {}
    arrays = ",".join(sorted({job.partition("_")[0] for s in submitted for job in s["jobs"]}))
    names = ",".join(each["name"] for each in submitted)  # squeue fails for ids it has forgotten
    queue = output_of("squeue", "-h", "-r", "-t", "all", "-o", "%i|%j|%T|%r", "-n", names)
    accounts = output_of("sacct", "-X", "-D", "-n", "-P", "-j", arrays,
                     "-o", "JobID,JobName,State,ExitCode,NodeList")  # fmt: skip
    queued = {(job, name): (state, reason) for job, name, state, reason in _rows(queue, 4)}
    known: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
    for id, name, state, code, node in _rows(accounts, 5):
        for job in expanded(id):
            known.setdefault((job, name), []).append((state, code, node))
    found = {}
    for each in submitted:
        for job, run in each["jobs"].items():
            key = (job, each["name"])  # ids may be reused after a failure of the controller
            state, detail = _state_of(job, queued.get(key), known.get(key, ()), queue is not None)
            found[run] = JobState(state, detail, each["submitted"])
    return found


def _rows(text: str | None, columns: int) -> Iterator[list[str]]:
    for line in (text or "").splitlines():
        parts = line.split("|")
        if len(parts) == columns:
            yield parts


def expanded(job: str) -> list[str]:
    """Return the task ids of a row: `7_[1-3,5%2]` is 7_1, 7_2, 7_3 and 7_5."""
    found = re.fullmatch(r"(\d+)_\[([\d,-]+)(?:%\d+)?\]", job)
    if not found:
        return [job]
    ids = []
    for part in found[2].split(","):
        first, _, last = part.partition("-")
        ids += [f"{found[1]}_{i}" for i in range(int(first), int(last or first) + 1)]
    return ids


def _state_of(
    job: str, queued: tuple[str, str] | None, known: Sequence[tuple[str, str, str]], asked: bool
) -> tuple[str, str]:
    """Return (our state of a job, details with Slurm's); the queue takes precedence.

    `asked` means that the queue could be read, so a job that is not in it has left it.
    """
    last, code, node = known[-1] if known else ("", "", "")
    slurm, reason = queued or (last, "")
    word = slurm.split(" ")[0]
    state = STATES.get(word, "pending" if asked and queued else "lost")
    detail = f"job {job}"
    if word:
        detail += f": {slurm}"
    elif asked:
        detail += " is neither in the queue nor in Slurm's accounting"
    else:
        detail += ": Slurm cannot be queried from here"
        state = "unknown"
    if state == KILLED and code:
        detail += f" ({code})"
        detail += _MEMORY if code in ("0:9", "9:0", "137:0") else ""
    if state == "pending" and reason not in ("", "None"):
        detail += f" ({reason})"
    if not queued and state in ("running", "pending"):
        detail += " (accounting lags behind)"
    requeues = sum(1 for earlier in known[:-1] if earlier[0].split(" ")[0] in _REQUEUED)
    if requeues:
        detail += f", requeued {requeues} times" if requeues > 1 else ", requeued once"
    return state, detail + (f", on {node}" if node and node != "None assigned" else "")


_MEMORY = ", by SIGKILL, perhaps because memory ran out"
_REQUEUED = ("REQUEUED", "PREEMPTED", "NODE_FAIL")


def cancel(folder: SweepFolder) -> list[str]:
    """Cancel the sweep's pending and running jobs; returns the ids of their arrays."""
    states = job_states(folder)
    arrays = sorted({job.partition("_")[0] for each in folder.jobs()
                     for job, run in each["jobs"].items() if states[run].is_open})  # fmt: skip
    if arrays:
        subprocess.run(["scancel", *arrays], check=False, capture_output=True)
    return arrays
