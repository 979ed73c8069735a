"""Whether the user lets code run that a recipe names or a model file holds."""

from __future__ import annotations

import os

from surgery.errors import SurgeryError

ALLOW_CODE = "SURGERY_ALLOW_CODE"
"""The environment variable that lets code run that a recipe names or a model file holds."""


def may_run_code() -> bool:
    """Whether the user lets such code run."""
    return os.environ.get(ALLOW_CODE, "") not in ("", "0")


def need_permission(what: str) -> None:
    """Raise SurgeryError where the user has not allowed code to run."""
    if not may_run_code():
        raise SurgeryError(
            f"{what} is code, which runs only with --allow-code or {ALLOW_CODE}=1; look at it first"
        )
