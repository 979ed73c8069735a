"""Stopping a sweep, wherever its runs are."""

from __future__ import annotations

import contextlib
import os
import signal
import socket

from surgery.sweeps import jobs
from surgery.sweeps.folder import SweepFolder


def cancel(folder: SweepFolder) -> str:
    """Have nothing more begin, and end what runs; says what was ended."""
    folder.stop()
    arrays = jobs.cancel(folder)
    ended, elsewhere = 0, 0
    for run in folder.runs():
        held = folder.holder(run.id)
        if held is None or not held.is_there or held.job:
            continue
        if held.host != socket.gethostname():
            elsewhere += 1  # sees that it is to stop before its next run
            continue
        with contextlib.suppress(OSError):
            os.kill(held.pid, signal.SIGTERM)
            ended += 1
    said = [f"{ended} process{'es' if ended > 1 else ''} ended here"] if ended else []
    said += [f"{elsewhere} on other machines end after their runs"] if elsewhere else []
    said += [f"jobs {', '.join(arrays)} cancelled"] if arrays else []
    return ", ".join(said) or "nothing was running"
