"""The plan of a run, step by step and target by target, as frozen data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from surgery.execution.manifest import is_live
from surgery.execution.metrics import named
from surgery.execution.observing import Observer
from surgery.formats.base import Format
from surgery.live.loading import LoadCheck
from surgery.ops.live import LiveOp
from surgery.recipe.language import Recipe, Step, Target
from surgery.storage.states import FileState
from surgery.weights.model import Model
from surgery.weights.tensor import CHUNK
from surgery.weights.weight import Weight

BASE_MEMORY = 100 << 20
"""Bytes of memory of Python, NumPy and h5py before the first weight is read; measured."""

TENSORFLOW_MEMORY = 620 << 20
"""Bytes of memory for importing TensorFlow; measured."""

_CHUNKS_PER_THREAD = 4
"""The most chunks in a thread's memory: input, output and intermediate results."""


@dataclass(frozen=True)
class StepPlan:
    """The plan of a step: the weights it matches, and at most how many elements change.

    `renames` is {old name: new name}. After a live step, `found` has its measurements, and `files`
    is {path: temporary file}.
    """

    step: Step
    matched: tuple[Weight, ...]
    changes: int | None
    observer: Observer
    renames: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, tuple[int | None, int | None]] = field(default_factory=dict)
    """Of a step that changes layers: how many layers, parameters, bytes and FLOPs there are before
    and after it; None for what is not known."""
    found: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[Path, Path] = field(default_factory=dict)
    checked: Model | None = None
    """The model that a check is about."""

    def __repr__(self) -> str:
        return f"<StepPlan {self.step.title}: {len(self.matched)} weights>"

    @property
    def elements(self) -> int:
        """The number of elements of the matched weights."""
        return sum(weight.tensor.size for weight in self.matched)


@dataclass(frozen=True)
class TargetPlan:
    """The plan of a target: the model to write, and a check by Keras (or None)."""

    format: Format
    path: Path
    model: Model
    check: LoadCheck | None = None

    def __repr__(self) -> str:
        return f"<TargetPlan {self.format.name} {self.path}: {self.bytes:,} bytes>"

    @property
    def bytes(self) -> int:
        """The bytes of the weights, without optimizer state."""
        return self.model.nbytes


@dataclass(frozen=True)
class Plan:
    """All that a run will do."""

    recipe: Recipe
    source: Model
    donors: tuple[Model, ...]
    model: Model
    steps: tuple[StepPlan, ...]
    data: tuple[Path, ...]
    """The files that steps and expectations read, except models."""
    read: tuple[Path, ...]
    """All files and folders that are read."""
    inputs: Mapping[Path, FileState]
    targets: tuple[TargetPlan, ...]
    threads: int
    needs_tensorflow: bool
    notes: tuple[str, ...]
    measured: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    """The measurements of live expectations, by number of the expectation."""

    def __repr__(self) -> str:
        counts = f"{len(self.steps)} steps, {len(self.targets)} targets"
        return f"<Plan of {self.recipe.name}: {counts}, {self.memory / 1e6:,.0f} MB of memory>"

    @property
    def is_live(self) -> bool:
        """True if a live Keras model is needed."""
        return is_live(self.recipe)

    @property
    def files(self) -> Mapping[Path, Path]:
        """The files that live steps wrote: {path: temporary file}."""
        return {path: made for step in self.steps for path, made in step.files.items()}

    def files_of(self, path: Path) -> list[Path]:
        """Return the files of an input path at the time of planning."""
        return [file for file in self.inputs if file == path or path in file.parents]

    @property
    def metrics(self) -> Mapping[str, float]:
        """The metrics of the live steps run so far."""
        found = ((s.step.op.name, s.step.name, s.found.get("metrics")) for s in self.steps)
        return named((op, name, metrics) for op, name, metrics in found if metrics)

    @property
    def passes(self) -> int:
        """The most times that any weight is read."""
        return max((weight.tensor.passes for weight in self.model.weights), default=1)

    @property
    def bytes_read(self) -> int:
        """The bytes to read: each weight once, and again for each extra pass of a step."""
        return sum(weight.tensor.passes * weight.tensor.nbytes for weight in self.model.weights)

    @property
    def bytes_written(self) -> int:
        """The bytes to write to all targets."""
        return sum(target.bytes for target in self.targets)

    @property
    def memory(self) -> int:
        """The most memory of the run in bytes.

        Only that of exports grows with the model, and of operands that `compute` needs whole.
        """
        itemsize = max((w.tensor.dtype.itemsize for w in self.model.weights), default=4)
        chunks = self.threads * _CHUNKS_PER_THREAD * CHUNK * itemsize
        writing = max((t.format.memory(t.model) for t in self.targets), default=0)
        copies = [s.step.op.copies for s in self.steps if isinstance(s.step.op, LiveOp)]
        live = max([*copies, 0]) * self.model.nbytes
        tensorflow = TENSORFLOW_MEMORY if self.needs_tensorflow else 0
        held = sum(weight.tensor.held for weight in self.model.weights)
        return BASE_MEMORY + chunks + held + max(writing, live) + tensorflow


def cores() -> int:
    """Return the number of cores that this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def default_threads() -> int:
    """Return the number of cores, at most four; more threads only take more memory."""
    return min(4, cores())


def target_plan(target: Target, model: Model) -> TargetPlan:
    """Make the plan of a target for a model that its format can store."""
    left, form = target.optimizer.left(model), target.format
    return TargetPlan(form, target.path, form.prepared(left), form.load_check(left))
