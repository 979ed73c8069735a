"""Cancelling of a sweep's processes and jobs."""

from __future__ import annotations

import contextlib
import os
import signal
import socket

from surgery.sweeps import jobs
from surgery.sweeps.folder import SweepFolder


def cancel(folder: SweepFolder) -> str:
    """Stop a sweep, and end its processes here and its batch jobs; returns a text about them."""
    folder.stop()
    arrays = jobs.cancel(folder)
    ended, elsewhere = 0, 0
    for run in folder.runs():
        held = folder.holder(run.id)
        if held is None or not held.is_there or held.job:
            continue
        if held.host != socket.gethostname():
            elsewhere += 1  # it checks for the stop before its next run
            continue
        with contextlib.suppress(OSError):
            os.kill(held.pid, signal.SIGTERM)
            ended += 1
    parts = [f"{ended} process{'es' if ended > 1 else ''} ended here"] if ended else []
    parts += [f"{elsewhere} on other machines end after their runs"] if elsewhere else []
    parts += [f"jobs {', '.join(arrays)} cancelled"] if arrays else []
    return ", ".join(parts) or "nothing was running"
