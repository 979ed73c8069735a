"""`predict`: write the model's outputs to a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from surgery.declared.data import Data
from surgery.declared.fields import key
from surgery.ops._arrays import write_npz
from surgery.ops.base import op
from surgery.ops.live import Done, LiveOp, Runner, check_data, need_live
from surgery.weights.model import Model


@op
@dataclass(frozen=True, kw_only=True)
class Predict(LiveOp):
    """Write the model's outputs for data to a .npz file."""

    changes_weights = False
    returned_key = "export"

    data: Data = key("The inputs; labels are not read.", {"npz": "digits.npz", "x": "x_test"})
    export: Path = key(
        "The .npz file: y, or one array for each output; for images also their names, in order.",
        "out/predictions.npz",
    )
    batch_size: int = key("Examples at a time.", 64, default=32, minimum=1)

    @property
    def title(self) -> str:
        return f"predict {self.data}"

    def inputs(self) -> tuple[Path, ...]:
        return self.data.without_labels().inputs()

    def outputs(self) -> Mapping[Path, str]:
        return {self.export: "export"}

    def apply(self, model: Model) -> Model:
        need_live(model, self.name)
        check_data(self.data.without_labels(), model)
        return model

    def run(self, model: Model, runner: Runner) -> Done:
        data, to = self.data.without_labels(), runner.room("rows")
        made = runner.call("predict", model, data=data, batch_size=self.batch_size, to=to)
        file = write_npz(runner.room("predictions"), made["arrays"], made["files"])
        shapes = {name: facts["shape"] for name, facts in made["arrays"].items()}
        return Done(model, {"arrays": shapes}, {self.export: file})
