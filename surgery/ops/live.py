"""What an operation is that needs a running Keras model."""

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
    """Where a live step does its work: a process with Keras, and room for files."""

    def call(self, job: str, model: Model, **arguments: Any) -> Mapping[str, Any]:
        """Have a job of live.process done on a model; raises SurgeryError where it fails."""

    def open(self, path: Path, like: Model) -> Model:
        """The model in a file that a job wrote, with the addresses that another one has."""

    def room(self, name: str) -> Path:
        """A free path that is removed when the run is over."""

    def resume_folder(self) -> Path:
        """A folder for the next step that outlives a killed run of the same recipe and files."""


@dataclass(frozen=True)
class Done:
    """What a live step made: the model, facts for the report, and files by their paths."""

    model: Model
    facts: Mapping[str, Any]
    files: Mapping[Path, Path] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LiveOp(Op):
    """An operation that needs a running Keras model.

    `apply` predicts what the model will be like; `run` does it.
    """

    copies: ClassVar[int] = 2
    """How often the running model holds the weights, for the plan's memory."""

    finds_metrics: ClassVar[bool] = False

    returned_key: ClassVar[str] = ""
    """The key of a .npz file that Python code may leave out: it gets the arrays themselves."""

    @abstractmethod
    def run(self, model: Model, runner: Runner) -> Done:
        """Do it."""

    def writes(self) -> Sequence[Path]:
        """Where else it writes to while it is done."""
        return ()

    def outputs(self) -> Mapping[Path, str]:
        """The files that the step writes, each with the key that names it."""
        return {}


def need_live(model: Model, name: str) -> None:
    """Raise SurgeryError where no running model can be made of this one."""
    code = model.carried.code
    if code is not None:
        need_permission(str(code.build.text if code.build else code.modules[0].text))
    elif model.architecture is None:
        raise SurgeryError(
            f"{name} needs a running model, and {model.origin} holds weights only; load the whole "
            "model (.keras, .h5), or give architecture or build with it"
        )


def check_data(data: Data, model: Model) -> Examples | None:
    """Return the examples, where they are known without running code.

    Raises where data cannot be read, or has not the shape that the model takes.
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
    """The shapes of the model's inputs, without the batch's axis, where the config has them."""
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
    """What `compile` is called with to measure; nothing for the model's own compile config."""
    if loss is None:
        return {}
    return {"loss": loss.value, "metrics": [metric.value for metric in metrics]}
