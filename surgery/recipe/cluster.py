"""`cluster`: the resources of each run of a sweep in a batch system."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surgery.declared.fields import key
from surgery.errors import UsageError, printable

_WITH_DAYS = re.compile(r"(?P<days>\d+)-(?P<hours>\d+)(:(?P<minutes>\d\d))?(:(?P<seconds>\d\d))?")
_WITHOUT_DAYS = re.compile(r"((?P<hours>\d+):)?(?P<minutes>\d+):(?P<seconds>\d\d)")


@dataclass(frozen=True)
class TimeLimit:
    """A time limit in whole minutes."""

    minutes: int

    @classmethod
    def from_recipe(cls, value: object, _folder: Path) -> TimeLimit:
        """Read minutes, `2h`, `90m`, or Slurm's `MM:SS`, `H:MM:SS`, `D-HH[:MM[:SS]]`.

        Raises ValueError.
        """
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise TypeError
        text = str(value).strip()
        if found := re.fullmatch(r"(\d+)\s*([mhd]?)", text):
            minutes = int(found[1]) * {"": 1, "m": 1, "h": 60, "d": 1440}[found[2]]
        elif found := _WITH_DAYS.fullmatch(text) or _WITHOUT_DAYS.fullmatch(text):
            parts = {name: int(part or 0) for name, part in found.groupdict().items()}
            minutes = parts.get("days", 0) * 1440 + parts["hours"] * 60 + parts["minutes"]
            minutes += parts["seconds"] > 0
        else:
            raise ValueError(f"{value!r} is not a time; write minutes, 2h, or H:MM:SS")
        if minutes == 0:
            raise ValueError("a time limit is one minute or more")
        return cls(minutes)

    @classmethod
    def schema(cls) -> Mapping[str, object]:
        """Return its JSON Schema."""
        return {"type": ["integer", "string"]}

    def __str__(self) -> str:
        return f"{self.minutes}m"


_NOT_ONE_LINE = "contains a line break or another control character; write one line"


class OneLine(str):
    """Text without line breaks and control characters, safe in a line of a script."""

    @classmethod
    def from_recipe(cls, value: object, _folder: Path) -> OneLine:
        """Read text; raises ValueError if it is not a single line."""
        if not isinstance(value, str):
            raise TypeError
        if printable(value) != value:
            raise ValueError(f"{value!r} {_NOT_ONE_LINE}")
        return cls(value)

    @classmethod
    def schema(cls) -> Mapping[str, object]:
        """Return its JSON Schema."""
        return {"type": "string", "minLength": 1}


def need_one_line(*paths: str) -> None:
    """Raise UsageError for a path with control characters, which could inject a command."""
    for path in paths:
        if printable(path) != path:
            raise UsageError(f"{path}: a path with a control character cannot be put into a script")


_OF_SHELLS = ("wrap", "export", "export-file", "get-user-env", "bcast")
"""Options of sbatch that contain a command or environment variables."""

_MARGIN = 1.25
"""The memory that a job requests, divided by the plan's estimate."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The resources that each run of a sweep requests, and how its jobs are submitted."""

    partition: OneLine | None = key("Slurm's partition.", "gpu", default=None)
    time: TimeLimit = key("The time limit of a run.", "2h", default=TimeLimit(60))
    mem: OneLine | None = key(
        "Memory of a run; by default the plan's estimate and a quarter more.", "8GB", default=None,
        pattern=r"^\d+(\.\d+)?\s*[KMGT]?B?$",
    )  # fmt: skip
    cpus: int | None = key("Cores of a run.", 4, default=None, minimum=1)
    gpus: int | None = key("GPUs of a run.", 1, default=None, minimum=0)
    account: OneLine | None = key("The account that is billed.", "lab", default=None)
    qos: OneLine | None = key("Slurm's quality of service.", "normal", default=None)
    array_parallelism: int = key("The most runs at the same time.", 32, default=256, minimum=1)
    setup: tuple[OneLine, ...] = key(
        "Lines of shell before each run; a recipe's own need --allow-code.",
        ["module load cuda"],
        default=(),
    )
    sbatch: Mapping[str, Any] | None = key(
        "More options of sbatch.", {"constraint": "a100"}, default=None
    )
    signal: int = key(
        "Seconds before the time limit at which a run is stopped cleanly, to be requeued and "
        "resumed; with 0, or a time limit of a few minutes, the limit kills it.",
        120,
        default=90,
        minimum=0,
    )
    requeues: int = key(
        "How many times a run that reached its time limit is requeued.", 3, default=10, minimum=0
    )
    image: OneLine | None = key(
        "The container image, for --emit kubernetes.", "registry.example/surgery:1", default=None
    )

    def __post_init__(self) -> None:
        for name, value in (self.sbatch or {}).items():
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", name):
                raise ValueError(
                    f"sbatch: {name!r} is not the name of an option; write it without --"
                )
            if not isinstance(value, str | int | float | None):
                raise ValueError(f"sbatch: the value of {name} must be text, a number or true")
            if printable(str(value)) != str(value):
                raise ValueError(f"sbatch: {name} {_NOT_ONE_LINE}")

    @property
    def shell(self) -> Sequence[str]:
        """The keys whose values a shell runs, or that set its environment (BASH_ENV)."""
        options = [f"sbatch.{name}" for name in self.sbatch or () if name in _OF_SHELLS]
        return [*(["setup"] if self.setup else []), *options]

    @property
    def notice(self) -> int:
        """How many seconds before the time limit a run gets a signal; 0 for none.

        Slurm may send it a minute early, so short time limits get none.
        """
        return self.signal if self.time.minutes * 60 >= 2 * (self.signal + 60) else 0

    def mebibytes(self, planned: int) -> int:
        """Return the memory of a run in MiB: the requested one, else by the plan's bytes."""
        found = re.fullmatch(r"([\d.]+)\s*([KMGT]?)B?", self.mem or "")
        if not found:
            return math.ceil(planned * _MARGIN / 2**20)
        return math.ceil(float(found[1]) * 1024.0 ** ("KMGT".index(found[2] or "M") - 1))

    @property
    def options(self) -> Mapping[str, Any]:
        """All other options of sbatch; a run may be requeued unless `sbatch` says otherwise."""
        given = {"requeue": True, **(self.sbatch or {})}
        if not given["requeue"]:
            given["no-requeue"] = True
        return {n: value for n, value in given.items() if value is not None and value is not False}
