"""Where temporary files go."""

from __future__ import annotations

import os


def scratch() -> str | None:
    """The folder that a batch system has for a job; None where Python is to decide ($TMPDIR)."""
    return os.environ.get("SLURM_TMPDIR") or None
