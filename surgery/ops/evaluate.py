"""`evaluate`: the model's loss and metrics on data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from surgery.declared.compiling import KerasMetric, Loss
from surgery.declared.data import Data
from surgery.declared.fields import key
from surgery.errors import SurgeryError
from surgery.ops.base import op
from surgery.ops.live import Done, LiveOp, Runner, check_data, compiling, need_live
from surgery.weights.model import Model


@op
@dataclass(frozen=True, kw_only=True)
class Evaluate(LiveOp):
    """Measure the model's loss and metrics on data."""

    changes_weights = False
    finds_metrics = True

    data: Data = key("The data to measure on.", {"npz": "digits.npz", "x": "x_test", "y": "y_test"})
    batch_size: int = key("Examples at a time.", 64, default=32, minimum=1)
    loss: Loss | None = key(
        "A Keras loss; required if the model is not compiled.",
        "sparse_categorical_crossentropy",
        default=None,
        in_example=True,
    )
    metrics: tuple[KerasMetric, ...] = key(
        "Keras metrics.", ["accuracy"], default=(), in_example=True
    )

    def __post_init__(self) -> None:
        if self.metrics and self.loss is None:
            raise ValueError("metrics go with loss")

    @property
    def title(self) -> str:
        return f"evaluate on {self.data}"

    def inputs(self) -> tuple[Path, ...]:
        return self.data.inputs()

    def apply(self, model: Model) -> Model:
        need_live(model, self.name)
        check_data(self.data, model)
        if self.loss is None and not model.carried.compiled:
            raise SurgeryError("the model is not compiled; give loss, and metrics")
        return model

    def run(self, model: Model, runner: Runner) -> Done:
        compile = compiling(self.loss, self.metrics)
        found = runner.call(
            "evaluate", model, data=self.data, batch_size=self.batch_size, compile=compile
        )
        return Done(model, found)
