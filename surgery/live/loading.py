"""The check, in a separate process before writing, that Keras can build a model from a config."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from surgery.errors import SurgeryError
from surgery.live.code import Code
from surgery.live.permission import may_run_code

CHECKED = "checked"
_SECONDS = 60.0


@dataclass(frozen=True)
class LoadCheck:
    """A config, and the variables that Keras should build from it.

    `variables` has each variable's (shape, dtype) by its path in a weights file, in Keras's order.
    `skipped` is the reason if Keras is not to be asked.
    """

    config: Mapping[str, Any]
    variables: Mapping[str, tuple[Sequence[int], str]]
    code: Code | None = None
    skipped: str = ""


def load_check_result(check: LoadCheck) -> str:
    """Return `checked`, or `not checked: <reason>`; raises SurgeryError if Keras refuses."""
    from surgery.live.session import session

    if check.skipped:
        return f"not checked: {check.skipped}"
    with session(None, lambda _event, _facts: None, runs_code=may_run_code()) as live:
        is_late = threading.Event()

        def end() -> None:
            is_late.set()
            live.close()

        timer = threading.Timer(_SECONDS, end)
        timer.start()
        try:
            found = live.call("check", check=check)
        except SurgeryError:
            if not is_late.is_set():
                raise
            return f"not checked: Keras took more than {_SECONDS:g} s"
        finally:
            timer.cancel()
    if found["refusal"]:
        raise SurgeryError(found["refusal"])
    return f"not checked: {found['unknown']}" if found["unknown"] else CHECKED
