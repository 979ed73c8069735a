"""A sweep on a cluster with Slurm, by submitit: job arrays, requeued and resumed."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from surgery.errors import SurgeryError, Terminated, UsageError, terminate
from surgery.recipe.cluster import Cluster, need_one_line
from surgery.sweeps.folder import TIMEOUT, Record, SweepFolder
from surgery.sweeps.jobs import output_of
from surgery.sweeps.planning import PlannedRun
from surgery.sweeps.shared_steps import SharedSteps
from surgery.sweeps.work import Doing, do_run, key_of

_INSTALL = 'Slurm needs submitit: pip install "tf-surgery[slurm]"'


class _TooLong(BaseException):
    """The time limit was reached too many times."""


class SlurmRun:
    """A job of an array; submitit pickles it, and calls `checkpoint` before a requeue."""

    def __init__(self, folder: Path, threads: int, signalled: bool) -> None:
        self.folder, self.threads, self.signalled = folder, threads, signalled

    def __call__(self, id: str) -> None:
        """Do the run with that id; ends the process with its exit code."""
        folder = SweepFolder(self.folder)
        index = next((run.index for run in folder.runs() if run.id == id), None)
        if folder.is_stopped or index is None:
            print("the sweep is cancelled" if index is not None else f"{id} is no longer a run")
            return
        file = folder.recipe_file()
        recipe = file.run(index)
        self._heed_signals()
        memo = SharedSteps(file).memo(recipe, self.threads)
        try:
            record = do_run(folder, recipe, Doing(self.threads, memo))
        except Terminated:
            sys.exit(128 + signal.SIGTERM)
        except _TooLong as error:
            folder.keep(
                Record(id=id, index=index, values=recipe.values, state=TIMEOUT,
                       key=key_of(recipe), message=str(error), ended=time.time(),
                       job=os.environ.get("SLURM_JOB_ID", ""))
            )  # fmt: skip
            sys.exit(1)
        sys.exit(record.exit_code if record is not None else 0)

    def checkpoint(self, id: str) -> Any:
        """Return what to submit when the job is requeued: the same run, which resumes."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, id)

    def _heed_signals(self) -> None:
        """Stop cleanly on SIGTERM, and on the signal before the time limit.

        submitit ignores SIGTERM, and raises ordinary exceptions from its handler.
        """
        requeue = signal.getsignal(signal.SIGUSR2)

        def stop(number: int, frame: FrameType | None) -> None:
            try:
                if callable(requeue):
                    requeue(number, frame)
            except Exception as error:
                raise _TooLong(str(error)) from None

        signal.signal(signal.SIGTERM, terminate)
        signal.signal(signal.SIGUSR2, stop if self.signalled else signal.SIG_IGN)


def submit(
    folder: SweepFolder,
    runs: Sequence[PlannedRun],
    cluster: Cluster,
    threads: int,
    plan_memory: int,
) -> list[str]:
    """Submit the runs as job arrays, and return the arrays' ids; raises SurgeryError."""
    try:
        import submitit
    except ImportError:
        raise UsageError(_INSTALL) from None
    name = f"{re.sub(r'[^A-Za-z0-9_-]+', '-', folder.path.stem)}-{uuid.uuid4().hex[:8]}"
    jobs = (folder.path / "jobs").absolute()
    need_one_line(str(jobs))
    size = _most_in_an_array()
    ids = []
    try:
        executor = submitit.SlurmExecutor(jobs, max_num_timeout=cluster.requeues)
        executor.update_parameters(**_parameters(cluster, name, plan_memory))
        for start in range(0, len(runs), size):
            part = runs[start : start + size]
            work = SlurmRun(folder.path.absolute(), threads, cluster.notice > 0)
            submitted = time.time()
            given = executor.map_array(work, [run.id for run in part])
            facts = {
                "name": name,
                "submitted": submitted,
                "jobs": {job.job_id: run.id for job, run in zip(given, part, strict=True)},
            }
            ids.append(given[0].job_id.partition("_")[0])
            folder.add_job(f"{ids[-1]}-{name}", facts)
    except (RuntimeError, OSError, ValueError, submitit.core.utils.FailedJobError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise SurgeryError(f"Slurm refuses the runs: {lines[-1]}") from error
    return ids


def _parameters(cluster: Cluster, name: str, plan_memory: int) -> dict[str, Any]:
    """Return the parameters for submitit."""
    given = {
        "job_name": name,
        "partition": cluster.partition,
        "time": cluster.time.minutes,
        "mem": f"{cluster.mebibytes(plan_memory)}M",
        "cpus_per_task": cluster.cpus,
        "gpus_per_node": cluster.gpus,
        "account": cluster.account,
        "qos": cluster.qos,
        "array_parallelism": cluster.array_parallelism,
        "signal_delay_s": cluster.notice,
        "setup": list(cluster.setup) or None,
        "stderr_to_stdout": True,
        "additional_parameters": dict(cluster.options),
    }
    return {key: value for key, value in given.items() if value is not None}


def _most_in_an_array() -> int:
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", output_of("scontrol", "show", "config") or "")
    return max(1, int(found[1])) if found else 1000
