"""The parent's side of the process with Keras, which is started on first use."""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from surgery.errors import SurgeryError
from surgery.live.permission import may_run_code
from surgery.storage.temporary import lasting_folder

Listener = Callable[[str, Mapping[str, Any]], None]


class Session:
    """A process with Keras that runs one job after another.

    User code, and TensorFlow's memory and crashes, stay in that process; `imported` are the user's
    files that it has imported.
    """

    def __init__(self, threads: int, listen: Listener = lambda _event, _facts: None) -> None:
        self.threads = threads
        self.allows_code = may_run_code()  # the process inherits this by its environment
        self.folder = Path.cwd()  # relative paths start there in the process, too
        self.listen = listen
        self.imported: set[Path] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = ""

    def close(self) -> None:
        """Kill the process, and remove its temporary folder."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()
            shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Start the process if it is not running, to be ready for the first job."""
        self._process = self._process or self._start()

    def call(self, job: str, /, **arguments: Any) -> dict[str, Any]:
        """Run a job and return its result; raises SurgeryError with the reason of a failure."""
        self.start()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            pickle.dump((job, arguments), process.stdin)
            process.stdin.flush()
        is_idle = False
        try:
            for kind, facts in self._messages(process):
                is_idle = kind in ("done", "failed")
                if kind == "done":
                    return facts
                if kind == "failed":
                    raise SurgeryError(facts["message"])
                if kind == "imported":
                    self.imported.update(facts["files"])
                else:
                    self.listen(kind, facts)
            raise SurgeryError(self._death(process))
        finally:
            if not is_idle:  # interrupted, or dead
                self.close()

    def _start(self) -> subprocess.Popen[bytes]:
        # TensorFlow leaves a temporary file for every function that it converts.
        self._folder = lasting_folder()
        command = [sys.executable, "-m", "surgery.live.process.worker",
                   str(self.threads), self._folder]  # fmt: skip
        environment = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ}
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )

    def _messages(self, process: subprocess.Popen[bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
        assert process.stdout is not None
        with contextlib.suppress(EOFError, pickle.UnpicklingError):
            while True:
                try:
                    message = pickle.load(process.stdout)
                except ValueError:
                    if process.stdout.closed:  # by another thread: a check's time limit
                        return
                    raise
                yield message

    def _death(self, process: subprocess.Popen[bytes]) -> str:
        code = process.wait()
        if code == -signal.SIGKILL:
            why = "was killed, perhaps because memory ran out"
        elif code < 0:
            why = f"ended by {signal.Signals(-code).name}"
        else:
            why = f"ended with exit code {code}"
        return f"the process with Keras {why}; nothing was written"


_IDLE: list[Session] = []


@contextlib.contextmanager
def session(threads: int | None, listen: Listener, runs_code: bool = False) -> Iterator[Session]:
    """Yield a session, reusing an idle one of an earlier run in this process.

    The idle one must have as many threads (None: any), the same permission to run code, and must
    have been started in the same folder. With `runs_code` it is always a new one, since the user's
    modules may have changed. The most recent session is kept idle afterwards.
    """
    fits = [each for each in _IDLE if threads in (None, each.threads)]
    here = (may_run_code(), Path.cwd())
    idle = [] if runs_code else [each for each in fits if (each.allows_code, each.folder) == here]
    taken = idle[0] if idle else Session(threads or 1)
    if idle:
        _IDLE.remove(taken)
    taken.listen = listen
    try:
        yield taken
    finally:
        if runs_code:
            taken.close()
        else:
            _close()
            _IDLE.append(taken)


@atexit.register
def _close() -> None:
    """Kill the idle processes."""
    while _IDLE:
        _IDLE.pop().close()
