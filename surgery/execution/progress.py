"""Progress of a run: a bar in a terminal, lines in a batch log, or nothing."""

from __future__ import annotations

import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from surgery.declared.fields import json_line
from surgery.errors import printable
from surgery.storage import locations

_SECONDS_BETWEEN_LINES = 10.0
_ALWAYS = ("epoch",)


class Progress(ABC):
    """A listener to the progress of a run; a context manager."""

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def say(self, event: str, **facts: object) -> None:
        """Report an event: the run begins, a target is written, the run is over."""
        return

    @abstractmethod
    def phase(self, name: str, total: int) -> None:
        """Begin a new phase of `total` bytes (0: unknown)."""

    @abstractmethod
    def advance(self, count: int) -> None:
        """Add `count` bytes of progress; called from many threads."""


class Silent(Progress):
    """Progress that is not shown."""

    def phase(self, name: str, total: int) -> None:
        return None

    def advance(self, count: int) -> None:
        return None


class Log(Progress):
    """Progress as a line on stderr for every event: `text` for people, `json` for programs.

    `brief` is limited to epochs and the progress of long phases.
    """

    def __init__(self, title: str, form: str = "text", brief: bool = False) -> None:
        self._title, self._form, self._brief = title, form, brief
        self._lock = threading.Lock()
        self._name, self._total, self._done = "", 0, 0
        self._last_line = time.monotonic()

    def say(self, event: str, **facts: object) -> None:
        """Print an event."""
        if not self._brief or event in _ALWAYS:
            self._print(event, facts)

    def _print(self, event: str, facts: Mapping[str, object]) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        if self._form == "json":
            line = json_line({"time": now, "recipe": self._title, "event": event, **facts})
        else:
            text = " ".join(f"{key}={value}" for key, value in facts.items())
            line = f"{now} {self._title}: {event} {text}".rstrip()
        print(printable(locations.with_urls(line)), file=sys.stderr, flush=True)

    def phase(self, name: str, total: int) -> None:
        self._name, self._total, self._done = name, total, 0
        self._last_line = time.monotonic()
        if total:  # phases of unknown size begin with another event
            self.say(name, bytes=total)

    def advance(self, count: int) -> None:
        with self._lock:
            self._done += count
            now = time.monotonic()
            if now - self._last_line > _SECONDS_BETWEEN_LINES and self._total:
                self._last_line = now
                self._print(self._name, {"percent": 100 * self._done // self._total})


class Bar(Progress):
    """Progress as a bar, removed at the end of the run."""

    def __init__(self, title: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[done]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._title = title
        self._task: Any = None
        self._done, self._total = 0, 0
        self._lock = threading.Lock()

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, event: str, **facts: object) -> None:
        """Print a line above the bar for every epoch."""
        if event == "epoch":
            self._bar.console.print(printable(_epoch_text(facts)), markup=False, highlight=False)

    def phase(self, name: str, total: int) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._done, self._total = 0, total
        self._task = self._bar.add_task(
            printable(f"{self._title}: {name}"), total=total or None, done=""
        )

    def advance(self, count: int) -> None:
        with self._lock:
            self._done += count
        done = f"{self._done / 1e6:,.0f} of {self._total / 1e6:,.0f} MB"
        self._bar.update(self._task, completed=self._done, done=done)


def _epoch_text(facts: Mapping[str, object]) -> str:
    metrics = (f"{name} {value}" for name, value in facts.items() if name not in ("number", "of"))
    return f"epoch {facts['number']} of {facts['of']}: {', '.join(metrics)}"


def progress_for(title: str, quiet: bool, log_format: str | None = None) -> Progress:
    """Return a Log if a format is given, a Bar in a terminal, else a brief Log.

    `quiet` gives Silent.
    """
    if log_format is not None:
        return Log(title, log_format)
    if quiet:
        return Silent()
    return Bar(title) if sys.stderr.isatty() else Log(title, brief=True)
