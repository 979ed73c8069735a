"""This side of the process with Keras: it is started late, given jobs, and listened to."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from surgery.errors import SurgeryError

Listener = Callable[[str, Mapping[str, Any]], None]


class Session:
    """A process with Keras, for one job after another; used as a context manager.

    User code, TensorFlow's memory and its crashes stay in there.
    """

    def __init__(self, threads: int, listen: Listener = lambda _event, _facts: None) -> None:
        self._threads = threads
        self._listen = listen
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

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
        for kind, facts in self._messages(process):
            if kind == "done":
                return facts
            if kind == "failed":
                raise SurgeryError(facts["message"])
            self._listen(kind, facts)
        raise SurgeryError(self._death(process))

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "surgery.keras_bridge.live.worker", str(self._threads)]
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
        self._process = None
        code = process.wait()
        if code == -signal.SIGKILL:
            why = "was killed, as happens where memory runs out"
        elif code < 0:
            why = f"ended by {signal.Signals(-code).name}"
        else:
            why = f"ended with exit code {code}"
        return f"the process with Keras {why}; nothing was written"
