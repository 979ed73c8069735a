"""A sweep's folder: plain files, one a run, from which its whole state can be read.

`sweep.json` describes the sweep; `recipe.yaml` is the recipe when it began; `runs/ID.json` is the
record of a finished run, written atomically; `runs/ID.claim-N` shows which process does a run;
`logs/ID.log` is its log; `jobs/*.json` are the batch jobs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surgery.errors import UsageError
from surgery.recipe.matrix import Values, run_id, texts, with_texts
from surgery.storage import locations
from surgery.storage.replacing import write_whole
from surgery.storage.states import FileState, file_state
from surgery.sweeps.claims import Claim, Holder, drop, holder, take

if TYPE_CHECKING:
    from surgery.recipe.reading import RecipeFile

VERSION = 1
_RECIPE = "recipe.yaml"
_FEW = 5
_FOLDERS = ("runs", "logs", "jobs")
_KINDS = {"recipe": str, "params": dict, "runs": list, "cluster": dict, "recipe_sha256": str,
          "env": dict, "texts": list}  # fmt: skip
DONE, FAILED, KILLED, TIMEOUT = "done", "failed", "killed", "timed out"


@dataclass(frozen=True, kw_only=True)
class Record:
    """The result of a run; `key` is a hash of what it depends on, `inputs` one of file states."""

    id: str
    index: int
    values: Values
    state: str
    key: str
    inputs: str = ""
    exit_code: int = 0
    message: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    sparsity: float | None = None
    bytes: int = 0
    outputs: Sequence[str] = ()
    seconds: float = 0.0
    ended: float = 0.0
    host: str = ""
    job: str = ""

    @property
    def is_done(self) -> bool:
        """True if the run succeeded."""
        return self.state == DONE

    @property
    def is_recipes_fault(self) -> bool:
        """True if the run would fail again with the same inputs."""
        return self.state == FAILED and self.exit_code in (2, 3)


@dataclass(frozen=True)
class Run:
    """A run of a sweep: its number, id, and values in the matrix."""

    index: int
    id: str
    values: Values


class SweepFolder:
    """The folder of one sweep."""

    def __init__(self, path: Path) -> None:
        if url := locations.url_in(str(path)):
            raise UsageError(
                f"{url}: a sweep's folder must be on a file system; give another --dir"
            )
        self.path = path

    @classmethod
    def existing(cls, path: Path) -> SweepFolder:
        """Return the folder of a sweep that has begun; raises UsageError if it is not one."""
        folder = cls(path)
        folder.facts()
        return folder

    @classmethod
    def of(cls, file: RecipeFile, path: Path | None) -> SweepFolder:
        """Return the folder of a recipe's sweep: `path`, or `NAME.sweep` beside the recipe."""
        recipe = Path(file.file)
        return cls(path or recipe.with_name(f"{recipe.stem}.sweep"))

    def begin(
        self,
        file: RecipeFile,
        overrides: Mapping[str, str],
        on: str | None = None,
        cluster: Mapping[str, Any] | None = None,
    ) -> list[Values]:
        """Write what the sweep consists of; returns former runs that are no longer in it.

        `on` and `cluster` default to those of the last time. Raises UsageError if the folder is
        another sweep's, or has other parameters, which would affect runs in progress.
        """
        recipe = Path(file.file).absolute()
        before: Mapping[str, Any] = {"on": "local", "cluster": {}, "runs": []}
        if self._is_taken():
            before = self.facts()
            known = (self.path / before["recipe"]).resolve()
            if known != recipe.resolve():
                raise UsageError(f"{self.path} is the sweep of {known}; give another --dir")
            if before["params"] != overrides:
                given = " ".join(f"-p {name}={text}" for name, text in before["params"].items())
                how = f"with {given}" if given else "without -p"
                raise UsageError(f"{self.path} is the sweep {how}; give another --dir")
        for name in _FOLDERS:
            (self.path / name).mkdir(parents=True, exist_ok=True)
        facts: dict[str, Any] = {
            "sweep": VERSION,
            "recipe": os.path.relpath(recipe, self.path.absolute()),
            "params": dict(overrides),
            "on": on or before["on"],
            "cluster": dict(before["cluster"] if cluster is None else cluster),
            "env": dict(file.env),
            "objective": asdict(file.objective) if file.objective else None,
            "runs": list(file.runs or ({},)),
            "texts": [texts(values) for values in file.runs or ()],
            "recipe_sha256": hashlib.sha256(file.data).hexdigest(),
        }
        write_whole(self.path / _RECIPE, file.data)
        _write(self.path / "sweep.json", facts)
        kept = {run_id(values) for values in facts["runs"]}
        return [values for values in before["runs"] if run_id(values) not in kept]

    @property
    def begun(self) -> FileState:
        """A state that changes whenever a command begins the sweep."""
        return file_state(self.path / "sweep.json")

    def edition(self) -> str:
        """Return a hash of the recipe, its values and environment."""
        facts = self.facts()
        text = json.dumps([facts["recipe_sha256"], facts["runs"], facts["env"]])
        return hashlib.sha256(text.encode()).hexdigest()

    def _is_taken(self) -> bool:
        """Return whether the path is in use, other than by a sweep that is just beginning."""
        if not self.path.is_dir():
            return self.path.exists()
        names = {path.name for path in self.path.iterdir() if not path.name.startswith(".")}
        return "sweep.json" in names or not names <= {_RECIPE, *_FOLDERS}

    def facts(self) -> dict[str, Any]:
        """Return the facts in sweep.json; raises UsageError if it is missing or damaged."""
        try:
            facts = json.loads((self.path / "sweep.json").read_text(encoding="utf-8"))
            if facts["sweep"] != VERSION:
                raise UsageError(f"{self.path} is of version {facts['sweep']} of sweeps")
            if not _KINDS.items() <= {name: type(facts[name]) for name in _KINDS}.items():
                raise TypeError
            return dict(facts)
        except OSError as error:
            raise UsageError(
                f"{self.path} is not the folder of a sweep (sweep.json: {error.strerror})"
                f"{self._others()}"
            ) from None
        except (ValueError, KeyError, TypeError):
            raise UsageError(
                f"{self.path / 'sweep.json'} is damaged: remove it, and start the sweep again; "
                "finished runs are kept"
            ) from None

    def _others(self) -> str:
        """Return a hint with the folders of sweeps nearby."""
        own = self.path.with_suffix(".sweep")
        if own != self.path and own.exists():
            return f"; the folder of its sweep is {own}"
        near = [*self.path.parent.glob("*.sweep/sweep.json"),
                *self.path.parent.glob("*/*.sweep/sweep.json")]  # fmt: skip
        there = sorted(str(found.parent) for found in near)
        more = ", ..." if len(there) > _FEW else ""
        return f"; there are the sweeps {', '.join(there[:_FEW])}{more}" if there else ""

    def recipe_file(self, as_begun: bool = True) -> RecipeFile:
        """Return the recipe as it was when the sweep began, or (not `as_begun`) as it is now."""
        from surgery.recipe.reading import RecipeFile  # a slow import, not needed for status

        facts = self.facts()
        path = Path(os.path.relpath(self.path / facts["recipe"]))
        if not as_begun:
            return RecipeFile.read(path, facts["params"])
        data = (self.path / _RECIPE).read_bytes()
        runs = [with_texts(*each) for each in zip(facts["runs"], facts["texts"], strict=False)]
        return RecipeFile(data, str(path), path.parent, facts["params"], runs, facts["env"])

    def runs(self) -> list[Run]:
        """Return all runs."""
        values = self.facts()["runs"]
        return [Run(index, run_id(each), each) for index, each in enumerate(values)]

    def record(self, id: str) -> Record | None:
        """Return the record of a run; None if it has not ended, or the record is damaged."""
        try:
            facts = json.loads((self.path / "runs" / f"{id}.json").read_text(encoding="utf-8"))
            known = {each.name for each in fields(Record)}
            record = Record(**{name: value for name, value in facts.items() if name in known})
        except (OSError, ValueError, TypeError, AttributeError):
            return None
        is_whole = isinstance(record.state, str) and isinstance(record.metrics, dict)
        return record if is_whole else None

    def keep(self, record: Record) -> None:
        """Write the record of a run."""
        _write(self.path / "runs" / f"{record.id}.json", asdict(record))

    def forget(self, id: str) -> None:
        """Remove the record of a run, so that it is done again."""
        (self.path / "runs" / f"{id}.json").unlink(missing_ok=True)

    def claim(self, id: str) -> Claim | None:
        """Claim a run for this process; None if another process does it."""
        return take(self.path / "runs" / id)

    def holder(self, id: str) -> Holder | None:
        """Return the process that does a run, or did it when it was killed."""
        return holder(self.path / "runs" / id)

    def unclaim(self, id: str) -> None:
        """Remove the claim of a killed process."""
        drop(self.path / "runs" / id)

    def log(self, id: str) -> Path:
        """Return the path of a run's log."""
        return self.path / "logs" / f"{id}.log"

    @property
    def is_stopped(self) -> bool:
        """True if no more runs may begin."""
        return (self.path / "stop").exists()

    def stop(self) -> None:
        """Keep further runs from beginning."""
        _write(self.path / "stop", {"at": time.time()})

    def resume(self, since: float) -> None:
        """Let runs begin again, unless they were stopped after the time `since`."""
        path = self.path / "stop"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            if json.loads(path.read_text())["at"] > since:
                return
        path.unlink(missing_ok=True)

    def add_job(self, name: str, facts: Mapping[str, Any]) -> None:
        """Write the facts of a submitted job array."""
        _write(self.path / "jobs" / f"{name}.json", facts)

    def jobs(self) -> list[dict[str, Any]]:
        """Return the submitted job arrays, in order."""
        found = []
        for file in (self.path / "jobs").glob("*.json"):
            with contextlib.suppress(ValueError):  # damaged: its jobs are unknown
                found.append(json.loads(file.read_text(encoding="utf-8")))
        return sorted(found, key=lambda facts: facts["submitted"])


def _write(path: Path, facts: Mapping[str, Any]) -> None:
    write_whole(path, json.dumps(facts).encode())
