"""Progress: a bar in a terminal, plain lines in a batch log, or nothing."""

from __future__ import annotations

import sys
import threading
import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any

_SECONDS_BETWEEN_LINES = 10.0


class Progress(ABC):
    """What is told of a run while it runs; used as a context manager."""

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    @abstractmethod
    def phase(self, name: str, total: int) -> None:
        """A new phase begins, of so many bytes (0: not known)."""

    @abstractmethod
    def advance(self, count: int) -> None:
        """So many bytes are done; called from many threads."""


class Silent(Progress):
    """Tells nothing."""

    def phase(self, name: str, total: int) -> None:
        return None

    def advance(self, count: int) -> None:
        return None


class Lines(Progress):
    """One line for each phase that takes long, for a log."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._lock = threading.Lock()
        self._name, self._total, self._done = "", 0, 0
        self._told = time.monotonic()

    def phase(self, name: str, total: int) -> None:
        self._name, self._total, self._done = name, total, 0

    def advance(self, count: int) -> None:
        with self._lock:
            self._done += count
            now = time.monotonic()
            if now - self._told > _SECONDS_BETWEEN_LINES and self._total:
                self._told = now
                share = 100 * self._done // self._total
                print(f"{self._title}: {self._name} {share} %", file=sys.stderr, flush=True)


class Bar(Progress):
    """A bar that goes away when the run is over."""

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

    def phase(self, name: str, total: int) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._done, self._total = 0, total
        self._task = self._bar.add_task(f"{self._title}: {name}", total=total or None, done="")

    def advance(self, count: int) -> None:
        with self._lock:
            self._done += count
        done = f"{self._done / 1e6:,.0f} of {self._total / 1e6:,.0f} MB"
        self._bar.update(self._task, completed=self._done, done=done)


def progress_for(title: str, quiet: bool) -> Progress:
    """A bar where a person watches, else lines."""
    if quiet:
        return Silent()
    return Bar(title) if sys.stderr.isatty() else Lines(title)
