"""The runner of live steps: a process with Keras, and folders for its models."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from surgery.errors import SurgeryError, Terminated
from surgery.execution.manifest import code_files, key_of, path_of, runs_code
from surgery.execution.plan import Plan, TargetPlan
from surgery.execution.progress import Progress, Silent
from surgery.execution.writing import write
from surgery.formats.base import Format, open_model
from surgery.formats.keras import Keras
from surgery.formats.weights_h5 import WeightsH5
from surgery.live.permission import may_run_code
from surgery.live.requests import LiveFile
from surgery.live.session import Listener, session
from surgery.ops.live import LiveOp
from surgery.recipe.language import Recipe
from surgery.storage import locks
from surgery.storage.states import named_states
from surgery.storage.temporary import new_folder
from surgery.weights.model import Model

Memo = Callable[[int, Callable[[], Mapping[str, Any]]], Mapping[str, Any]]
"""A function `memo(number, do)`: the cached result of that job, else of `do()`."""


class LiveRunner:
    """The environment of live steps; a context manager.

    With a plan, the steps are those of a run, which can be resumed if it was killed.
    """

    def __init__(
        self,
        progress: Progress,
        threads: int,
        plan: Plan | None = None,
        memo: Memo | None = None,
    ) -> None:
        self._progress, self._threads = progress, threads
        self._plan = plan
        self._memo: Memo = memo or (lambda _number, do: do())
        self._calls = count()
        self._names = count()
        self._resume_numbers = count(1)
        self._listeners: list[Listener] = [self._heard]
        self._kept: Path | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> LiveRunner:
        with contextlib.ExitStack() as stack:
            own = may_run_code() if self._plan is None else runs_code(self._plan.recipe)
            self._session = stack.enter_context(session(self._threads, self._tell, own))
            self._session.start()
            self._folder = Path(stack.enter_context(new_folder()))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._stack.close()
        if isinstance(error, KeyboardInterrupt | Terminated) and self._kept:
            kept = [int(each.name.partition("-")[2]) for each in self._kept.glob("epoch-*")]
            if kept:
                error.add_note(f"run it again: the training resumes after epoch {max(kept)}")

    @property
    def imported(self) -> Collection[Path]:
        """The files with the user's code that live steps have imported."""
        return self._session.imported

    def finish(self) -> None:
        """Remove the state that is kept to resume a killed run."""
        for folder in _left(self._plan.recipe) if self._plan else ():
            shutil.rmtree(folder, ignore_errors=True)

    def room(self, name: str) -> Path:
        """Return a free path in a temporary folder of the run."""
        return self._folder / f"{next(self._names)}-{name}"

    def resume_folder(self) -> Path:
        """Return a folder for the next step, which the next run finds if this one is killed.

        Raises SurgeryError if another run of the recipe is going on.
        """
        if self._plan is None:
            return self.room("resume")
        if self._kept is None:
            folder = _resume_folder(self._plan.recipe, self._plan.read)
            folder.mkdir(parents=True, exist_ok=True)
            refusal = f"another run of {self._plan.recipe.name} is going on; wait for it"
            locks.hold(folder / "lock", self._stack, refusal)
        else:
            folder = self._kept.parent
        self._kept = folder / str(next(self._resume_numbers))
        self._kept.mkdir(exist_ok=True)
        return self._kept

    def open(self, path: Path, like: Model) -> Model:
        """Open a file that a job wrote, with the addresses of the model `like`.

        Raises SurgeryError if weights are missing.
        """
        made = _form(like).restored(open_model(path, like.architecture), like)
        wanted = {weight.address for weight in like.weights}
        if like.carried.code is None and made.by_address.keys() >= wanted:
            return made
        places = {place: weight for weight in made.weights for place in weight.stored}
        weights = [
            replace(there, address=weight.address)
            for weight in like.weights
            for place in weight.stored
            if (there := places.get(place)) is not None
        ]
        weights += [weight for weight in like.weights if not weight.stored]
        if len({weight.address for weight in weights}) < len(like.weights):
            raise SurgeryError(
                f"{like.origin}: the file that Keras saved lacks some of its weights"
            )
        return replace(made, weights=tuple(weights))

    def call(self, job: str, model: Model, **arguments: Any) -> Mapping[str, Any]:
        """Run a job of live.process on a model and return its result; raises SurgeryError."""

        def do() -> Mapping[str, Any]:
            given = {
                name: self.file(value) if isinstance(value, Model) else value
                for name, value in arguments.items()
            }
            self._progress.phase(job, 0)
            return self._session.call(job, file=self.file(model), **given)

        return self._memo(next(self._calls), do)

    def file(self, model: Model) -> LiveFile:
        """Write a model to a file that Keras can load; raises SurgeryError if it cannot be."""
        form = _form(model)
        others = [w for w in model.weights if _is_built(model) and not w.stored]
        saved = tuple(w for w in model.weights if not _is_built(model) or w.stored)
        given = replace(model, weights=saved)
        if problems := form.problems(given):
            raise SurgeryError(f"{model.origin} cannot become a live model: {problems[0]}")
        path = self.room("model").with_suffix(form.suffix)
        write([TargetPlan(form, path, given)], self._threads, Silent())
        written = form.open(path, model.architecture)
        there = given if _is_built(model) else written
        stored = {weight.address: weight.stored for weight in form.restored(there, given).weights}
        files = {weight.address: self.room("other.npy") for weight in others}
        for weight in others:
            np.save(files[weight.address], weight.tensor.numpy())
        return LiveFile(
            path,
            stored,
            model.carried.code,
            files,
            trained={w.address: w.trainable for w in saved if w.trainable is not None},
            frozen=[weight.address for weight in saved if model.is_frozen(weight)],
            compile_config=form.compile_config(model),
            has_slots=given.has_slots,
        )

    def listen(self, listener: Listener) -> None:
        """Add a listener for the messages of jobs."""
        self._listeners.append(listener)

    def _tell(self, event: str, facts: Mapping[str, Any]) -> None:
        for listener in self._listeners:
            listener(event, facts)

    def _heard(self, event: str, facts: Mapping[str, Any]) -> None:
        if event == "epoch begun":
            self._progress.phase(f"epoch {facts['number']} of {facts['of']}", 0)
            return
        if event == "point":
            self._progress.phase(f"{facts['weight']} {facts['level']}", 0)
        self._progress.say(event, **facts)


def _form(model: Model) -> Format:
    """Return the format in which a model is exchanged with the process with Keras."""
    return WeightsH5() if _is_built(model) else Keras()


def _is_built(model: Model) -> bool:
    return model.carried.code is not None and model.carried.code.build is not None


def _resume_folder(recipe: Recipe, read: Sequence[Path]) -> Path:
    """Return the folder for resuming, named by a hash of the recipe, its files and code.

    Folders of other recipes or files are removed when a run succeeds.
    """
    code = [path.read_text(encoding="utf-8", errors="replace") for path in code_files(recipe)]
    text = json.dumps([key_of(recipe), sorted(named_states(read)), code])
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    manifest = path_of(recipe)
    return manifest.with_name(f".{manifest.name}.surgery-live-{digest}")


def callback_files(recipe: Recipe) -> Iterator[Path]:
    """Yield the existing files at the paths that trainings' callbacks write to."""
    for step in recipe.steps:
        for path in step.op.writes() if isinstance(step.op, LiveOp) else ():
            pattern = re.sub(r"\{[^}]*\}", "*", glob.escape(str(path)))
            yield from (Path(found) for found in glob.iglob(pattern))


def _left(recipe: Recipe) -> list[Path]:
    manifest = path_of(recipe)
    return list(manifest.parent.glob(f".{manifest.name}.surgery-live-*"))
