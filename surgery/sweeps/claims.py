"""Claims: exclusive rights between processes by files alone, without locks that NFS breaks.

A claim is a file that is linked into place, which only one process can do, also on NFS. Its
holder touches it while it works. Of the claims `NAME.claim-0`, `NAME.claim-1`... the one with
the highest number counts: a process that finds its holder gone links the next.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SECONDS_BETWEEN_TOUCHES = 10.0
_SECONDS_UNTIL_GONE = 180.0
"""Well above a minute, since NFS may show other hosts a file's time that late."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a claim, and whether it is still alive."""

    host: str
    pid: int
    job: str
    since: float
    is_there: bool


class Claim:
    """A claim of this process; a context manager that touches it meanwhile and releases it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._released = threading.Event()
        self._toucher = threading.Thread(target=self._touch, daemon=True)

    def __enter__(self) -> Claim:
        self._toucher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._toucher.join()
        release(self._path)

    def _touch(self) -> None:
        while not self._released.wait(_SECONDS_BETWEEN_TOUCHES):
            with contextlib.suppress(OSError):
                os.utime(self._path)


def release(path: Path) -> None:
    """Remove a claim, and earlier ones whose holders are gone."""
    base, _, number = path.name.rpartition("-")
    for each in range(int(number) + 1):
        path.with_name(f"{base}-{each}").unlink(missing_ok=True)


def take(name: Path) -> Claim | None:
    """Claim a name; returns None if another process holds it."""
    last = _last(name)
    if last is not None and _holder(last).is_there:
        return None
    number = 0 if last is None else int(last.name.rpartition("-")[2]) + 1
    path = name.with_name(f"{name.name}.claim-{number}")
    facts = {**_self(), "since": time.time()}
    temporary = name.with_name(f".{name.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_text(json.dumps(facts), encoding="utf-8")
        os.link(temporary, path)
    except FileExistsError:
        return None
    finally:
        temporary.unlink(missing_ok=True)
    return Claim(path)


def holder(name: Path) -> Holder | None:
    """Return the process that holds a name, or held it when it was killed; None for none."""
    last = _last(name)
    return None if last is None else _holder(last)


def drop(name: Path) -> None:
    """Remove the claims of a holder that is gone."""
    last = _last(name)
    if last is not None and not _holder(last).is_there:
        release(last)


def _last(name: Path) -> Path | None:
    for number in range(1 << 20):
        if not name.with_name(f"{name.name}.claim-{number}").exists():
            break
    return name.with_name(f"{name.name}.claim-{number - 1}") if number else None


def _self() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "where": _where(),
        "pid": os.getpid(),
        "begun": _begun(os.getpid()),
        "job": os.environ.get("SLURM_JOB_ID", ""),
        "restart": os.environ.get("SLURM_RESTART_COUNT", "0"),
    }


@functools.cache
def _where() -> str:
    """Return an id of this machine, boot and process namespace, in which process ids are valid."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


def _begun(pid: int) -> str:
    """Return the start time of a process, in clock ticks; empty if there is none (or no /proc)."""
    try:
        facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if facts[0] in "ZX" else facts[19]


def _holder(path: Path) -> Holder:
    try:
        facts = json.loads(path.read_text())
        age = _server_time(path.parent) - path.stat().st_mtime
        return Holder(facts["host"], facts["pid"], facts["job"], facts["since"],
                      _is_there(facts, age))  # fmt: skip
    except (OSError, ValueError, KeyError):  # just released, or damaged
        return Holder("", 0, "", 0.0, is_there=False)


def _is_there(facts: dict[str, Any], age: float) -> bool:
    own = _self()
    if facts["job"] and facts["job"] == own["job"] and facts["restart"] != own["restart"]:
        return False  # this very job, before it was requeued
    if facts["where"] == own["where"]:
        if facts["begun"]:
            return _begun(facts["pid"]) == str(facts["begun"])
        with contextlib.suppress(OSError):
            os.kill(facts["pid"], 0)
            return True
        return False
    return age < _SECONDS_UNTIL_GONE


def _server_time(folder: Path) -> float:
    """Return the time by the clock of the file server, which may differ from ours."""
    with contextlib.suppress(OSError), tempfile.TemporaryFile(dir=folder) as probe:
        return os.fstat(probe.fileno()).st_mtime
    return time.time()


def waiting(name: Path) -> Iterator[None]:
    """Wait until no process holds a name, yielding before each poll, with exponential backoff.

    The pauses are 0.05 to 5 seconds.
    """
    pause = 0.05
    while (held := holder(name)) is not None and held.is_there:
        yield
        time.sleep(pause)
        pause = min(2 * pause, 5.0)
