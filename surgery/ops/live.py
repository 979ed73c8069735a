"""The base class of ops that need a live Keras model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from surgery.declared.compiling import KerasMetric, Loss
from surgery.declared.data import Batches, Data, Examples
from surgery.errors import SurgeryError
from surgery.live.permission import need_permission
from surgery.ops.base import Op
from surgery.weights.model import Model


class Runner(Protocol):
    """The environment of a live step: a process with Keras, and space for files."""

    def call(self, job: str, model: Model, **arguments: Any) -> Mapping[str, Any]:
        """Run a job of live.process on a model and return its result; raises SurgeryError."""

    def open(self, path: Path, like: Model) -> Model:
        """Open a file that a job wrote, with the addresses of the model `like`."""

    def room(self, name: str) -> Path:
        """Return a free path for a temporary file, removed at the end of the run."""

    def resume_folder(self) -> Path:
        """Return a folder for the next step that survives a killed run.

        The same recipe and files give the same folder.
        """


@dataclass(frozen=True)
class Done:
    """The result of a live step: the model, facts for the report, and {target: temporary file}."""

    model: Model
    facts: Mapping[str, Any]
    files: Mapping[Path, Path] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LiveOp(Op):
    """An op that needs a live Keras model.

    `apply` predicts the resulting model for the plan; `run` makes it.
    """

    copies: ClassVar[int] = 2
    """Copies of the weights that the live model needs, for the plan's memory estimate."""

    finds_metrics: ClassVar[bool] = False

    returned_key: ClassVar[str] = ""
    """The key of a .npz file that Python code may leave out, to get the arrays returned."""

    @property
    def needs_live(self) -> bool:
        return True

    @abstractmethod
    def run(self, model: Model, runner: Runner) -> Done:
        """Run the op on a live model, and return the result; raises SurgeryError."""

    def writes(self) -> Sequence[Path]:
        """Return the paths outside the run's targets that it writes while it runs."""
        return ()

    def outputs(self) -> Mapping[Path, str]:
        """Return {file that the step writes: its key}."""
        return {}


def need_live(model: Model, name: str) -> None:
    """Raise SurgeryError if no live model can be made of this one."""
    code = model.carried.code
    if code is not None:
        need_permission(str(code.build.text if code.build else code.modules[0].text))
    elif model.architecture is None:
        raise SurgeryError(
            f"{name} needs a live model, and {model.origin} has weights only; load the whole "
            "model (.keras, .h5), or add architecture or build"
        )


def check_data(data: Data, model: Model) -> Examples | None:
    """Open the data and return the examples; None if that takes running code.

    Raises SurgeryError if the data cannot be read, or their shape does not fit the model's input.
    """
    if data.runs_code:
        need_permission(str(data))
        return None
    examples = data.open()
    if isinstance(examples, Batches):
        return None
    wanted = _input_shapes(model)
    given = [examples.columns[name].shape for name in examples.x.columns if examples.columns]
    if len(wanted) != 1 or len(given) != 1:
        return examples
    fits = len(wanted[0]) == len(given[0]) and all(
        None in (a, b) or a == b for a, b in zip(wanted[0], given[0], strict=True)
    )
    if not fits:
        raise SurgeryError(
            f"{data}: an example of {examples.x.columns[0]} has the shape {_shape(given[0])}, and "
            f"the model takes {_shape(wanted[0])}"
        )
    return examples


def _shape(shape: Sequence[int | None]) -> str:
    return str([size if size is not None else "any" for size in shape]).replace("'", "")


def _input_shapes(model: Model) -> list[list[int | None]]:
    """Return the shapes of the model's inputs without the batch axis, if its config has them."""
    if model.architecture is None:
        return []
    entries = model.architecture.root.config.get("layers")
    shapes = []
    for entry in entries if isinstance(entries, list) else ():
        config = entry.get("config") if isinstance(entry, Mapping) else None
        if isinstance(config, Mapping) and entry.get("class_name") == "InputLayer":
            shapes.append(config.get("batch_shape") or config.get("batch_input_shape"))
    return [shape[1:] for shape in shapes if isinstance(shape, list)]


def compiling(loss: Loss | None, metrics: Sequence[KerasMetric]) -> dict[str, Any]:
    """Return the arguments of `compile` for measuring; empty to use the model's own."""
    if loss is None:
        return {}
    return {"loss": loss.value, "metrics": [metric.value for metric in metrics]}
