"""`activations`: outputs of inner layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from surgery.declared.data import Data
from surgery.declared.fields import key
from surgery.errors import SelectorError, did_you_mean
from surgery.ops._arrays import write_npz
from surgery.ops.base import op
from surgery.ops.live import Done, LiveOp, Runner, check_data, need_live
from surgery.weights.model import Model
from surgery.weights.selectors import expand_braces


@op
@dataclass(frozen=True, kw_only=True)
class Activations(LiveOp):
    """Measure the outputs of inner layers on data, and optionally save them as features."""

    changes_weights = False

    layers: tuple[str, ...] = key(
        "The layers, by address; * matches any part of a name.", ["block_5_add"]
    )
    data: Data = key("The inputs; labels are not read.", {"npz": "digits.npz", "x": "x_test"})
    export: Path | None = key(
        "A .npz file for the outputs, one array for each layer; for images also their names.",
        "out/features.npz",
        default=None,
    )
    batch_size: int = key("Examples at a time.", 64, default=32, minimum=1)

    @property
    def title(self) -> str:
        return f"activations of {', '.join(self.layers)}"

    def inputs(self) -> tuple[Path, ...]:
        return self.data.without_labels().inputs()

    def outputs(self) -> Mapping[Path, str]:
        return {} if self.export is None else {self.export: "export"}

    def apply(self, model: Model) -> Model:
        need_live(model, self.name)
        check_data(self.data.without_labels(), model)
        if model.architecture is not None and model.architecture.is_graph:
            known = [layer.address for layer in model.architecture.layers]
            for pattern in self.layers:
                if "*" not in pattern and pattern not in known:
                    raise SelectorError(
                        f"layers: the model has no layer {pattern!r}{did_you_mean(pattern, known)}"
                    )
        return model

    def run(self, model: Model, runner: Runner) -> Done:
        made = runner.call(
            "activations",
            model,
            data=self.data.without_labels(),
            batch_size=self.batch_size,
            layers=[name for pattern in self.layers for name in expand_braces(pattern)],
            to=None if self.export is None else runner.room("rows"),
        )
        facts = {"layers": made["layers"]}
        if self.export is None:
            return Done(model, facts)
        file = write_npz(runner.room("features"), made["arrays"], made["files"])
        return Done(model, facts, {self.export: file})
