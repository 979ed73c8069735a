"""The user's permission to run code from a recipe or a model file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from surgery.errors import SurgeryError

ALLOW_CODE = "SURGERY_ALLOW_CODE"
"""The environment variable that permits code from a recipe or a model file to run."""


def may_run_code() -> bool:
    """Return whether the user permits such code to run."""
    return os.environ.get(ALLOW_CODE, "") not in ("", "0")


def need_permission(what: str) -> None:
    """Raise SurgeryError if the user has not permitted code to run."""
    if not may_run_code():
        raise SurgeryError(
            f"{what} is code, which runs only with --allow-code or {ALLOW_CODE}=1; read it first"
        )


@contextlib.contextmanager
def code_allowed(is_allowed: bool) -> Iterator[None]:
    """Permit such code inside the `with` block if `is_allowed`; else change nothing."""
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
