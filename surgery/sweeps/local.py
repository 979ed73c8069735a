"""A sweep on this machine, in as many processes as its cores and memory allow."""

from __future__ import annotations

import contextlib
import json
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from surgery.errors import SurgeryError
from surgery.sweeps.folder import KILLED, Record, SweepFolder
from surgery.sweeps.planning import PlannedRun
from surgery.sweeps.shared_steps import is_kept
from surgery.sweeps.work import key_of, settled
from surgery.sweeps.worker import OTHER_EDITION

_SECONDS_TO_END = 30.0
_SECONDS_BETWEEN_LOOKS = 0.5


def free_memory() -> int:
    """Return the bytes of free memory, by the system and its cgroup limit."""
    found = [1 << 62]
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) << 10)
    with contextlib.suppress(OSError, ValueError):  # "max" means no limit
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        found.append(limit - int((group / "memory.current").read_text()))
    return min(found)


def worker_process(arguments: Sequence[str]) -> subprocess.Popen[str]:
    """Start a process that does runs, with pipes to it and from it."""
    command = [sys.executable, "-m", "surgery.sweeps.worker", *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


class _Worker:
    """A worker process, and its current run."""

    def __init__(self, folder: SweepFolder, threads: int, edition: str) -> None:
        self.process = worker_process([str(folder.path), str(threads), edition])
        self.run: PlannedRun | None = None

    @property
    def answers(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    def begin(self, run: PlannedRun) -> None:
        assert self.process.stdin is not None
        self.run = run
        with contextlib.suppress(
            BrokenPipeError
        ):  # it has died; reading its answers will show that
            self.process.stdin.write(json.dumps(run.index) + "\n")
            self.process.stdin.flush()

    def end(self) -> None:
        """Let an idle worker process finish by closing its input."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()


class LocalSweep:
    """The runs of a sweep in local processes."""

    def __init__(
        self,
        folder: SweepFolder,
        jobs: int,
        threads: int,
        memory: int,
        notify: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._folder = folder
        self._jobs, self._threads, self._memory = jobs, threads, memory
        self._edition, self._begun = folder.edition(), folder.begun
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()
        self._notify = notify
        self._started = time.time()

    def do(self, runs: Sequence[PlannedRun]) -> Iterator[tuple[PlannedRun, Record]]:
        """Do the runs, and wait for those in other processes; yields (run, record) as they end.

        After a stop, no further run begins.
        """
        waiting = list(runs)
        elsewhere: list[PlannedRun] = []
        try:
            while waiting or elsewhere or self._busy:
                while (run := self._next(waiting)) is not None:
                    waiting.remove(run)
                    self._begin(run)
                for worker in self._ready(0.05 if elsewhere and not self._busy else None):
                    run = worker.run
                    if run is None:
                        continue
                    record = self._ended(worker, run)
                    if record is not None:
                        yield run, record
                    elif not self._folder.is_stopped:
                        elsewhere.append(run)
                        self._tell_holder(run)
                if self._folder.is_stopped:
                    waiting, elsewhere = [], []
                for run in [] if self._busy else list(elsewhere):
                    if (record := self._record(run)) is not None:
                        elsewhere.remove(run)
                        yield run, record
                    elif (held := self._folder.holder(run.id)) is None or not held.is_there:
                        elsewhere.remove(run)
                        waiting.append(run)
                if elsewhere and not waiting and not self._busy:
                    time.sleep(_SECONDS_BETWEEN_LOOKS)
        finally:
            self._end()

    def _tell_holder(self, run: PlannedRun) -> None:
        if (held := self._folder.holder(run.id)) is not None:
            self._notify(f"run {run.index} is done by process {held.pid} on {held.host}; "
                       "waiting for it")  # fmt: skip

    @property
    def _busy(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.run is not None]

    def _next(self, waiting: Sequence[PlannedRun]) -> PlannedRun | None:
        """Return a run that fits into memory, and whose shared first steps are not in progress."""
        busy = [worker.run for worker in self._busy if worker.run is not None]
        if len(busy) >= self._jobs or self._folder.is_stopped:
            return None
        heads = {run.head for run in busy if run.head is not None and not is_kept(run.head)}
        used = sum(run.memory for run in busy)
        for run in waiting:
            if run.head not in heads and (not busy or used + run.memory <= self._memory):
                return run
        return None

    def _check_edition(self) -> None:
        """Raise SurgeryError if another command has begun the sweep with another recipe."""
        if (begun := self._folder.begun) == self._begun:
            return
        self._begun = begun
        if self._folder.edition() != self._edition:
            raise SurgeryError(f"{self._folder.path} was begun again with another recipe; "
                               "the remaining runs are left to that command")  # fmt: skip

    def _begin(self, run: PlannedRun) -> None:
        self._check_edition()
        free = [worker for worker in self._workers if worker.run is None]
        if not free:
            free = [_Worker(self._folder, self._threads, self._edition)]
            self._workers += free
            self._selector.register(free[0].answers, selectors.EVENT_READ, free[0])
        free[0].begin(run)

    def _ready(self, seconds: float | None) -> list[_Worker]:
        """Return the workers that have answered or died."""
        if not self._workers or (seconds is None and not self._busy):
            return []
        return [key.data for key, _ in self._selector.select(seconds)]

    def _ended(self, worker: _Worker, run: PlannedRun) -> Record | None:
        """Return the record of a worker's run; None if another process does it."""
        line = worker.answers.readline()
        worker.run = None
        if line and json.loads(line):
            return self._folder.record(run.id) or self._killed(run, 0)
        if line:
            return None
        self._selector.unregister(worker.answers)
        self._workers.remove(worker)
        code = worker.process.wait()
        self._folder.unclaim(run.id)
        if code == OTHER_EDITION:
            self._check_edition()
        if self._folder.is_stopped:
            return self._folder.record(run.id)
        return self._record(run) or self._killed(run, code)

    def _killed(self, run: PlannedRun, code: int) -> Record:
        if code < 0:
            name = signal.Signals(-code).name
            message = f"killed by {name}"
            message += ", perhaps because memory ran out" if code == -signal.SIGKILL else ""
        else:
            message = f"its process ended with exit code {code}; its log may show why"
        with self._folder.log(run.id).open("a", encoding="utf-8") as log:
            print(message, file=log)
        record = Record(
            id=run.id, index=run.index, values=run.values, state=KILLED,
            key=key_of(run.recipe), exit_code=code, message=message,
            ended=time.time(),
        )  # fmt: skip
        self._folder.keep(record)
        return record

    def _record(self, run: PlannedRun) -> Record | None:
        return settled(self._folder, run.recipe, run.id, self._started)

    def _end(self) -> None:
        """End all workers; those in a run remove their unfinished files."""
        for worker in self._workers:
            if worker.run is None:
                worker.end()
            else:
                worker.process.terminate()
        until = time.monotonic() + _SECONDS_TO_END
        for worker in self._workers:
            try:
                worker.process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            worker.answers.close()
        self._workers = []
