"""This side of the process with Keras: it is started late, given jobs, and listened to."""

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
    """A process with Keras, for one job after another.

    User code, TensorFlow's memory and its crashes stay in there; `imported` are the files with
    that code.
    """

    def __init__(self, threads: int, listen: Listener = lambda _event, _facts: None) -> None:
        self.threads = threads
        self.allows_code = may_run_code()  # as the process's environment will say
        self.folder = Path.cwd()  # where relative paths begin, in the process too
        self.listen = listen
        self.imported: set[Path] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = ""

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()
            shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Start the process already, so that it is ready when the first job comes."""
        self._process = self._process or self._start()

    def call(self, job: str, /, **arguments: Any) -> dict[str, Any]:
        """Have a job done; raises SurgeryError with why it failed."""
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
        # TensorFlow leaves a file there for every function that it converts.
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
                yield pickle.load(process.stdout)

    def _death(self, process: subprocess.Popen[bytes]) -> str:
        code = process.wait()
        if code == -signal.SIGKILL:
            why = "was killed, as happens where memory runs out"
        elif code < 0:
            why = f"ended by {signal.Signals(-code).name}"
        else:
            why = f"ended with exit code {code}"
        return f"the process with Keras {why}; nothing was written"


_IDLE: list[Session] = []


@contextlib.contextmanager
def session(threads: int | None, listen: Listener, runs_code: bool = False) -> Iterator[Session]:
    """A session; one that an earlier run of this process has left is taken up.

    It has that many threads, or any number, the same permission to run code, and was started in
    the same folder. What runs code of the user's gets one of its own: modules may have changed
    since. The newest is left.
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
    """End the processes that wait for another run."""
    while _IDLE:
        _IDLE.pop().close()
