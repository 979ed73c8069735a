"""The user's permission to run code that a recipe names or a model file holds."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

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


@contextlib.contextmanager
def code_allowed(is_allowed: bool) -> Iterator[None]:
    """Let such code run inside the `with` block, if allowed; else all stays as it is."""
    before = os.environ.get(ALLOW_CODE)
    if is_allowed:
        os.environ[ALLOW_CODE] = "1"
    try:
        yield
    finally:
        if is_allowed and before is None:
            del os.environ[ALLOW_CODE]
        elif is_allowed and before is not None:
            os.environ[ALLOW_CODE] = before
