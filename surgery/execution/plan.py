"""What a run does, step by step and target by target, as frozen data."""

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
"""Bytes that Python, NumPy and h5py take before the first weight is read; measured."""

TENSORFLOW_MEMORY = 620 << 20
"""Bytes that importing TensorFlow takes; measured."""

_CHUNKS_PER_THREAD = 4
"""How many chunks a thread holds at once, at most: before, after and what lies between."""


@dataclass(frozen=True)
class StepPlan:
    """Say what a step matches, at most how many elements it changes, and old names with new ones.

    Of a live step that was done, `found` has what it measured, and `files` what it wrote, by paths.
    """

    step: Step
    matched: tuple[Weight, ...]
    changes: int | None
    observer: Observer
    renames: Mapping[str, str] = field(default_factory=dict)
    found: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[Path, Path] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<StepPlan {self.step.title}: {len(self.matched)} weights>"

    @property
    def elements(self) -> int:
        """The number of elements of what it matches."""
        return sum(weight.tensor.size for weight in self.matched)


@dataclass(frozen=True)
class TargetPlan:
    """Name a target, the model that goes into it, and what Keras is asked before."""

    format: Format
    path: Path
    model: Model
    check: LoadCheck | None = None

    def __repr__(self) -> str:
        return f"<TargetPlan {self.format.name} {self.path}: {self.bytes:,} bytes>"

    @property
    def bytes(self) -> int:
        """The bytes of weights, optimizer state left out."""
        return self.model.nbytes


@dataclass(frozen=True)
class Plan:
    """All that a run does, before it does it."""

    recipe: Recipe
    source: Model
    donors: tuple[Model, ...]
    model: Model
    steps: tuple[StepPlan, ...]
    data: tuple[Path, ...]
    """What steps and expectations read besides models."""
    read: tuple[Path, ...]
    """All files and folders that are read."""
    inputs: Mapping[Path, FileState]
    targets: tuple[TargetPlan, ...]
    threads: int
    needs_tensorflow: bool
    notes: tuple[str, ...]
    measured: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    """What a live model was measured for, by the number of the expectation."""

    def __repr__(self) -> str:
        counts = f"{len(self.steps)} steps, {len(self.targets)} targets"
        return f"<Plan of {self.recipe.name}: {counts}, {self.memory / 1e6:,.0f} MB of memory>"

    @property
    def is_live(self) -> bool:
        """Whether a running Keras model is needed."""
        return is_live(self.recipe)

    @property
    def files(self) -> Mapping[Path, Path]:
        """Return the files that live steps wrote, by the paths where they will be."""
        return {path: made for step in self.steps for path, made in step.files.items()}

    def files_of(self, path: Path) -> list[Path]:
        """Return the files that an input path stood for when the run was planned."""
        return [file for file in self.inputs if file == path or path in file.parents]

    @property
    def metrics(self) -> Mapping[str, float]:
        """What live steps that have been done measured."""
        found = ((s.step.op.name, s.step.name, s.found.get("metrics")) for s in self.steps)
        return named((op, name, metrics) for op, name, metrics in found if metrics)

    @property
    def passes(self) -> int:
        """How often the weight that is read most is read."""
        return max((weight.tensor.passes for weight in self.model.weights), default=1)

    @property
    def bytes_read(self) -> int:
        """Bytes read: each weight once, and once more for each pass that a step needs."""
        return sum(weight.tensor.passes * weight.tensor.nbytes for weight in self.model.weights)

    @property
    def bytes_written(self) -> int:
        """Bytes written to all targets."""
        return sum(target.bytes for target in self.targets)

    @property
    def memory(self) -> int:
        """The most memory the run takes, in bytes; only that of exports grows with the model."""
        itemsize = max((w.tensor.dtype.itemsize for w in self.model.weights), default=4)
        chunks = self.threads * _CHUNKS_PER_THREAD * CHUNK * itemsize
        writing = max((t.format.memory(t.model) for t in self.targets), default=0)
        copies = [s.step.op.copies for s in self.steps if isinstance(s.step.op, LiveOp)]
        live = max([*copies, 0]) * self.model.nbytes
        tensorflow = TENSORFLOW_MEMORY if self.needs_tensorflow else 0
        return BASE_MEMORY + chunks + max(writing, live) + tensorflow


def cores() -> int:
    """Return the number of cores that this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def default_threads() -> int:
    """Return the number of cores, at most four; more threads bring nothing but memory."""
    return min(4, cores())


def target_plan(target: Target, model: Model) -> TargetPlan:
    """Return the plan of a target for a model that its format has no problems with."""
    left, form = target.optimizer.left(model), target.format
    return TargetPlan(form, target.path, form.prepared(left), form.load_check(left))
