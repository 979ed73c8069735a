"""A sweep on a cluster with Slurm, by submitit: job arrays, requeued and resumed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from surgery.errors import SurgeryError, Terminated, UsageError
from surgery.recipe.cluster import Cluster
from surgery.sweep.folder import KILLED, Record, SweepFolder
from surgery.sweep.planning import PlannedRun
from surgery.sweep.shared_steps import SharedSteps
from surgery.sweep.work import do_run, key_of

_INSTALL = 'Slurm needs submitit: pip install "surgery[slurm]"'
_MARGIN = 1.25
"""How much more memory a job asks for than the plan says."""

TIMEOUT = "timed out"
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
"""What Slurm's states mean for a run that has kept no record."""


class _TooLong(BaseException):
    """The time limit came too often."""


class SlurmRun:
    """What a job of an array does; submitit keeps it, and calls `checkpoint` before a requeue."""

    def __init__(self, folder: Path, threads: int, signalled: bool) -> None:
        self.folder, self.threads, self.signalled = folder, threads, signalled

    def __call__(self, index: int) -> None:
        """Do the run of that number; ends the process with its exit code."""
        folder = SweepFolder(self.folder)
        if folder.is_stopped:
            return
        file = folder.recipe_file()
        recipe = file.run(index)
        self._heed_signals()
        memo = SharedSteps(file).memo(recipe, self.threads)
        try:
            record = do_run(folder, recipe, self.threads, memo)
        except Terminated:
            sys.exit(128 + signal.SIGTERM)
        except _TooLong as error:
            run = folder.runs()[index]
            folder.keep(
                Record(id=run.id, index=index, values=run.values, state=TIMEOUT,
                       key=key_of(recipe), message=str(error), ended=time.time(),
                       job=os.environ.get("SLURM_JOB_ID", ""))
            )  # fmt: skip
            sys.exit(1)
        sys.exit(record.exit_code if record is not None else 0)

    def checkpoint(self, index: int) -> Any:
        """What is submitted when the job is requeued: the same, which goes on where it was."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, index)

    def _heed_signals(self) -> None:
        """Stop cleanly on SIGTERM, and on the signal that comes before the time limit.

        submitit takes SIGTERM for nothing, and raises ordinary exceptions from its handler.
        """
        requeue = signal.getsignal(signal.SIGUSR2)

        def stop(number: int, frame: FrameType | None) -> None:
            try:
                if callable(requeue):
                    requeue(number, frame)
            except Exception as error:
                raise _TooLong(str(error)) from None

        def terminate(_number: int, _frame: FrameType | None) -> None:
            raise Terminated

        signal.signal(signal.SIGTERM, terminate)
        signal.signal(signal.SIGUSR2, stop if self.signalled else signal.SIG_IGN)


def submit(
    folder: SweepFolder,
    runs: Sequence[PlannedRun],
    cluster: Cluster,
    threads: int,
    plan_memory: int,
) -> list[str]:
    """Submit the runs as job arrays, and give their ids; raises SurgeryError where it fails."""
    try:
        import submitit
    except ImportError:
        raise UsageError(_INSTALL) from None
    name = f"surgery-{uuid.uuid4().hex[:8]}"
    jobs = (folder.path / "jobs").absolute()
    size = _most_in_an_array()
    ids = []
    try:
        executor = submitit.SlurmExecutor(jobs, max_num_timeout=cluster.requeues)
        executor.update_parameters(**_parameters(cluster, name, plan_memory))
        for start in range(0, len(runs), size):
            part = runs[start : start + size]
            work = SlurmRun(folder.path.absolute(), threads, cluster.signal > 0)
            submitted = time.time()
            given = executor.map_array(work, [run.index for run in part])
            facts = {
                "name": name,
                "submitted": submitted,
                "jobs": {job.job_id: run.id for job, run in zip(given, part, strict=True)},
            }
            ids.append(given[0].job_id.partition("_")[0])
            folder.add_job(f"{ids[-1]}-{name}", facts)
    except (RuntimeError, OSError, ValueError, submitit.core.utils.FailedJobError) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise SurgeryError(f"Slurm does not take the runs: {said[-1]}") from error
    return ids


def _parameters(cluster: Cluster, name: str, plan_memory: int) -> dict[str, Any]:
    """What submitit is told."""
    mem = cluster.mem or f"{int(plan_memory * _MARGIN) >> 20}M"
    given = {
        "job_name": name,
        "partition": cluster.partition,
        "time": cluster.time.minutes,
        "mem": mem.replace(" ", "").removesuffix("B"),
        "cpus_per_task": cluster.cpus,
        "gpus_per_node": cluster.gpus,
        "account": cluster.account,
        "qos": cluster.qos,
        "array_parallelism": cluster.array_parallelism,
        "signal_delay_s": cluster.signal,
        "setup": list(cluster.setup) or None,
        "stderr_to_stdout": True,
        "additional_parameters": {"requeue": True, **(cluster.sbatch or {})},
    }
    return {key: value for key, value in given.items() if value is not None}


def _said(*command: str) -> str | None:
    """What a command prints; None where it fails, or is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _most_in_an_array() -> int:
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", _said("scontrol", "show", "config") or "")
    return max(1, int(found[1])) if found else 1000


@dataclass(frozen=True)
class JobState:
    """What the batch system says of a run's last job."""

    state: str
    detail: str
    submitted: float

    def is_newer(self, record: Record) -> bool:
        """Whether it was submitted after the record was made, and so tells more."""
        return self.submitted > record.ended


def job_states(folder: SweepFolder) -> Mapping[str, JobState]:
    """What Slurm says of each run that was submitted, by the run's id."""
    submitted = folder.jobs()
    if not submitted:
        return {}
    arrays = ",".join(sorted({job.partition("_")[0] for s in submitted for job in s["jobs"]}))
    queue = _said("squeue", "-h", "-r", "-o", "%i|%j|%T", "-j", arrays)
    accounts = _said("sacct", "-X", "-D", "-n", "-P", "-j", arrays,
                     "-o", "JobID,JobName,State,ExitCode,NodeList")  # fmt: skip
    queued = {(job, name): state for job, name, state in _rows(queue, 3)}
    known: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
    for id, name, state, code, node in _rows(accounts, 5):
        for job in expanded(id):
            known.setdefault((job, name), []).append((state, code, node))
    found = {}
    for each in submitted:
        for job, run in each["jobs"].items():
            key = (job, each["name"])  # ids are used again where a controller has died
            state, detail = _told(job, queued.get(key), known.get(key, ()), queue is not None)
            found[run] = JobState(state, detail, each["submitted"])
    return found


def _rows(text: str | None, columns: int) -> Iterator[list[str]]:
    for line in (text or "").splitlines():
        parts = line.split("|")
        if len(parts) == columns:
            yield parts


def expanded(job: str) -> list[str]:
    """The ids of tasks that a row stands for: `7_[1-3,5%2]` is 7_1, 7_2, 7_3 and 7_5."""
    found = re.fullmatch(r"(\d+)_\[([\d,-]+)(?:%\d+)?\]", job)
    if not found:
        return [job]
    ids = []
    for part in found[2].split(","):
        first, _, last = part.partition("-")
        ids += [f"{found[1]}_{i}" for i in range(int(first), int(last or first) + 1)]
    return ids


def _told(
    job: str, queued: str | None, known: Sequence[tuple[str, str, str]], asked: bool
) -> tuple[str, str]:
    """A job's state in our words, with Slurm's own in the detail; the queue knows it first."""
    last, code, node = known[-1] if known else ("", "", "")
    slurm = queued or last
    word = slurm.split(" ")[0]
    state = STATES.get(word, "pending" if asked and queued else "lost")
    detail = f"job {job}"
    if word:
        detail += f": {slurm}"
    elif asked:
        detail += " is in no queue, and nothing is known of it"
    else:
        detail += ": Slurm cannot be asked from here"
        state = "unknown"
    if state == KILLED and code:
        detail += f" ({code})"
    if not queued and state in ("running", "pending"):
        detail += " (accounting lags behind)"
    requeues = sum(1 for earlier in known[:-1] if earlier[0].split(" ")[0] in _REQUEUED)
    if requeues:
        detail += f", requeued {requeues} times" if requeues > 1 else ", requeued once"
    return state, detail + (f", on {node}" if node and node != "None assigned" else "")


_REQUEUED = ("REQUEUED", "PREEMPTED", "NODE_FAIL")


def cancel(folder: SweepFolder) -> list[str]:
    """Cancel the sweep's jobs that are not over; gives the arrays' ids."""
    arrays = sorted({job.partition("_")[0] for each in folder.jobs() for job in each["jobs"]})
    if arrays:
        subprocess.run(["scancel", *arrays], check=False, capture_output=True)
    return arrays
