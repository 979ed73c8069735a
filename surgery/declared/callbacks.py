"""Callbacks of Keras, as recipes declare them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surgery.declared.fields import key


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Stop when a metric no longer gets better."""

    monitor: str = key("The metric.", "val_loss", default="val_loss")
    patience: int = key("Epochs without progress.", 5, default=0, minimum=0)
    min_delta: float = key("The least change that counts as progress.", 0.001, default=0.0)
    mode: str = key("auto, min or max.", "auto", default="auto", enum=["auto", "min", "max"])
    restore_best_weights: bool = key("Go back to the best epoch.", True, default=False)
    start_from_epoch: int = key(
        "The epoch from which the metric is monitored.", 0, default=0, minimum=0
    )


@dataclass(frozen=True, kw_only=True)
class ReduceLROnPlateau:
    """Lower the learning rate when a metric no longer gets better."""

    monitor: str = key("The metric.", "val_loss", default="val_loss")
    factor: float = key("The factor by which the rate is multiplied.", 0.5, default=0.1)
    patience: int = key("Epochs without progress.", 2, default=10, minimum=0)
    min_delta: float = key("The least change that counts as progress.", 0.0001, default=0.0001)
    cooldown: int = key("Epochs to wait after lowering it.", 0, default=0, minimum=0)
    min_lr: float = key("The lowest rate.", 0.00001, default=0.0)
    mode: str = key("auto, min or max.", "auto", default="auto", enum=["auto", "min", "max"])


@dataclass(frozen=True, kw_only=True)
class ModelCheckpoint:
    """Save the model after epochs, in addition to the run's own targets."""

    filepath: Path = key(
        "The file to write, as a pattern of Keras's.", "out/epoch-{epoch:02d}.keras"
    )
    monitor: str = key("The metric.", "val_loss", default="val_loss")
    save_best_only: bool = key("Only when the metric got better.", True, default=False)
    save_weights_only: bool = key("Only the weights.", True, default=False)
    mode: str = key("auto, min or max.", "auto", default="auto", enum=["auto", "min", "max"])


@dataclass(frozen=True, kw_only=True)
class TensorBoard:
    """Write logs that TensorBoard shows."""

    log_dir: Path = key("The folder.", "out/logs")
    histogram_freq: int = key("Epochs between histograms of weights; 0 for none.", 1, default=0)


@dataclass(frozen=True, kw_only=True)
class CSVLogger:
    """Write a line of metrics for every epoch."""

    filename: Path = key("The file.", "out/history.csv")


@dataclass(frozen=True, kw_only=True)
class Callbacks:
    """Callbacks of Keras, with Keras's own arguments."""

    early_stopping: EarlyStopping | None = key(
        "Stop when a metric no longer gets better.", {"patience": 5}, default=None
    )
    reduce_lr_on_plateau: ReduceLROnPlateau | None = key(
        "Lower the learning rate when a metric no longer gets better.",
        {"patience": 2},
        default=None,
    )
    model_checkpoint: ModelCheckpoint | None = key(
        "Save the model after epochs.", {"filepath": "out/epoch-{epoch:02d}.keras"}, default=None
    )
    tensor_board: TensorBoard | None = key(
        "Write logs that TensorBoard shows.", {"log_dir": "out/logs"}, default=None
    )
    csv_logger: CSVLogger | None = key(
        "Write a line of metrics for every epoch.", {"filename": "out/history.csv"}, default=None
    )

    @property
    def given(self) -> list[Any]:
        """The callbacks that the recipe declares."""
        each = [getattr(self, name) for name in self.__dataclass_fields__]
        return [callback for callback in each if callback is not None]

    def paths(self) -> list[Path]:
        """Return the paths that the callbacks write to."""
        values = (value for callback in self.given for value in vars(callback).values())
        return [value for value in values if isinstance(value, Path)]

    def calls(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Return (Keras's class name, arguments) of each callback."""
        return [(type(callback).__name__, _arguments(callback)) for callback in self.given]


def _arguments(callback: Any) -> dict[str, Any]:
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in vars(callback).items()
    }
