"""One run of a sweep: done once among all processes, with a record of its result."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import math
import os
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from surgery.errors import SurgeryError
from surgery.execution import manifest, proof
from surgery.execution.execute import execute
from surgery.execution.live import Memo
from surgery.execution.planning import make_plan
from surgery.execution.progress import Log
from surgery.execution.seen import read
from surgery.live.code import paths_in
from surgery.recipe.language import Recipe
from surgery.recipe.matrix import run_id
from surgery.storage import locations
from surgery.storage.states import named_states
from surgery.sweeps.folder import DONE, FAILED, Record, SweepFolder

_BUG = 70


@dataclass(frozen=True)
class Doing:
    """Options of a run; `form` is the format of its log, `force` ignores that it is up to date."""

    threads: int
    memo: Memo | None
    form: str | None = None
    force: bool = False
    hashes: bool = False


def do_run(
    folder: SweepFolder, recipe: Recipe, doing: Doing, is_logged: bool = True
) -> Record | None:
    """Do a run, unless its record is settled, and return the record.

    None if another process does the run. With `is_logged`, output goes to the run's log. Errors are
    in the record, not raised; signals are raised, and leave no record.
    """
    id = run_id(recipe.values)
    claim = folder.claim(id)
    if claim is None:
        return None
    with claim:
        if (known := settled(folder, recipe, id)) is not None:
            return known
        log = _logged(folder.log(id)) if is_logged else contextlib.nullcontext()
        with log:
            record = _done(recipe, doing)
        folder.keep(record)
        return record


def settled(folder: SweepFolder, recipe: Recipe, id: str, since: float = math.inf) -> Record | None:
    """Return a run's record if the run need not be done again, else None.

    It is settled if it succeeded and its outputs are unchanged, or if it failed by the recipe's
    fault and its inputs are unchanged. Other failures count if they came after `since`; a killed
    run never does.
    """
    record = folder.record(id)
    return record if record is not None and _is_settled(recipe, record, since) else None


def _is_settled(recipe: Recipe, record: Record, since: float) -> bool:
    if record.key != key_of(recipe):
        return False
    if record.state == FAILED:
        return record.ended >= since or (
            record.is_recipes_fault and record.inputs == inputs_of(recipe) != ""
        )
    if manifest.is_remote(recipe):  # a manifest cannot show that these are current
        return record.is_done and all(
            locations.exists(locations.resolve(p)) for p in record.outputs
        )
    return record.is_done and proof.is_current(recipe, threads=1, trusts_code=True)


def key_of(recipe: Recipe) -> str:
    """Return a hash of all that a run depends on except the contents of models and data."""
    code = [path.read_bytes() for path in manifest.code_files(recipe)]
    return hashlib.sha256(b"\0".join([manifest.key_of(recipe).encode(), *code])).hexdigest()


def inputs_of(recipe: Recipe) -> str:
    """Return a hash of the current states of all files that a recipe reads; empty if unknown."""
    named = [path for source in recipe.sources() for path in paths_in(source)]
    named += manifest.data_files(recipe)
    there = [path for path in named if locations.url_of(path) is not None]
    try:
        versions = [[locations.url_of(path), locations.version_there(path)] for path in there]
        here = [path for path in named if path not in there]
        states = [[str(path), named_states(_stood_for(path))] for path in here]
    except (OSError, SurgeryError):
        return ""
    if any(version is None for _, version in versions):
        return ""
    return hashlib.sha256(json.dumps([states, versions]).encode()).hexdigest()


def _stood_for(path: Path) -> list[Path]:
    """Return a path if it exists; else the files with this prefix."""
    return [path] if path.exists() else sorted(path.parent.glob(f"{glob.escape(path.name)}*"))


def _done(recipe: Recipe, doing: Doing) -> Record:
    started = time.time()
    record = Record(
        id=run_id(recipe.values),
        index=recipe.index or 0,
        values=recipe.values,
        state=DONE,
        key=key_of(recipe),
        host=socket.gethostname(),
        job=os.environ.get("SLURM_JOB_ID", ""),
    )
    try:
        if doing.force or not proof.is_current(recipe, doing.threads, doing.hashes):
            plan = make_plan(recipe, doing.threads)
            log = Log(recipe.name, doing.form or "text")
            execute(plan, log, hashes=doing.hashes, memo=doing.memo)
        record = _with_manifest(record, manifest.path_of(recipe))
    except SurgeryError as error:
        message = locations.with_urls(str(error))
        print(message, file=sys.stderr)
        record = replace(
            record,
            state=FAILED,
            exit_code=error.exit_code,
            message=message,
            inputs=inputs_of(recipe),
        )
    except Exception as error:
        traceback.print_exc()
        message = f"a bug in surgery: {type(error).__name__}: {error}; see the log"
        record = replace(record, state=FAILED, exit_code=_BUG, message=message)
    ended = time.time()
    return replace(record, seconds=round(ended - started, 3), ended=ended)


def _with_manifest(record: Record, path: Path) -> Record:
    """Return the record with the metrics, sparsity and outputs in the manifest."""
    facts = read(path)
    return replace(
        record,
        metrics=facts["metrics"],
        sparsity=facts.get("sparsity"),
        outputs=[
            locations.url_in(each["path"]) or str((path.parent / each["path"]).resolve())
            for each in facts["outputs"]
        ],
        bytes=sum(file["bytes"] for each in facts["outputs"] for file in each["files"]),
    )


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Append all output of this process and its children to a file inside the `with` block."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, descriptor in zip((1, 2), kept, strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.close(log)
