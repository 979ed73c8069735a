"""What `compile` is called with: Keras's own names, checked without Keras."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from surgery.architecture import snake_case
from surgery.declaration import key
from surgery.errors import did_you_mean

OPTIMIZERS = (
    "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "Lion", "Muon", "Nadam",
    "RMSprop", "SGD", "ScheduleFreeAdamW",
)  # fmt: skip
LOSSES = (
    "BinaryCrossentropy", "BinaryFocalCrossentropy", "CTC", "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy", "CategoricalHinge", "Circle", "CosineSimilarity", "Dice",
    "Hinge", "Huber", "KLDivergence", "LogCosh", "MeanAbsoluteError",
    "MeanAbsolutePercentageError", "MeanSquaredError", "MeanSquaredLogarithmicError", "Poisson",
    "SparseCategoricalCrossentropy", "SquaredHinge", "Tversky",
)  # fmt: skip
METRICS = (
    "AUC", "BinaryAccuracy", "BinaryCrossentropy", "BinaryIoU", "CategoricalAccuracy",
    "CategoricalCrossentropy", "CategoricalHinge", "ConcordanceCorrelation", "CosineSimilarity",
    "F1Score", "FBetaScore", "FalseNegatives", "FalsePositives", "Hinge", "IoU", "KLDivergence",
    "LogCoshError", "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanIoU",
    "MeanSquaredError", "MeanSquaredLogarithmicError", "OneHotIoU", "OneHotMeanIoU",
    "PearsonCorrelation", "Poisson", "Precision", "PrecisionAtRecall", "R2Score", "Recall",
    "RecallAtPrecision", "RootMeanSquaredError", "SensitivityAtSpecificity",
    "SparseCategoricalAccuracy", "SparseCategoricalCrossentropy", "SparseTopKCategoricalAccuracy",
    "SpecificityAtSensitivity", "SquaredHinge", "TopKCategoricalAccuracy", "TrueNegatives",
    "TruePositives",
)  # fmt: skip
"""The classes of each kind; a test holds them against Keras."""

_SHORT_LOSSES = ("bce", "kld", "mae", "mape", "mse", "msle")
_SHORT_METRICS = ("accuracy", "acc", "crossentropy", "ce", "bce", "mae", "mape", "mse", "msle")


@dataclass(frozen=True)
class _Named:
    """A name, or a name with its arguments, as Keras takes it."""

    value: Any
    kind: ClassVar[str] = ""
    names: ClassVar[Mapping[str, str]]
    example: ClassVar[str] = ""

    @classmethod
    def from_recipe(cls, value: object, _folder: Path) -> Self:
        """As the recipe has it: `adam`, `{adam: {learning_rate: 0.001}}`, or Keras's config."""
        return cls(cls.one(value))

    @property
    def text(self) -> str:
        """Its name alone."""
        value = self.value
        return str(value["class_name"] if isinstance(value, Mapping) else value)

    @classmethod
    def one(cls, value: object) -> object:
        """One of them in the form that Keras takes."""
        if isinstance(value, str):
            cls.known(value)
            return value
        if not isinstance(value, Mapping):
            raise TypeError
        if "class_name" in value:
            return dict(value)
        if len(value) == 1:
            ((name, arguments),) = value.items()
            if isinstance(arguments, Mapping):
                return {"class_name": cls.known(name), "config": dict(arguments)}
        raise ValueError(f"write {cls.kind} as a name, or as {cls.example}")

    @classmethod
    def known(cls, name: str) -> str:
        """The class of that name; raises ValueError for an unknown one."""
        if ">" in name:  # a registered one
            return name
        if name not in cls.names:
            raise ValueError(
                f"Keras has no {cls.kind} {name!r}{did_you_mean(name, cls.names)}; "
                f"it has {', '.join(dict.fromkeys(cls.names))}"
            )
        return cls.names[name]

    @classmethod
    def schema(cls) -> Mapping[str, object]:
        """Its JSON Schema."""
        return {"type": ["string", "object"], "minLength": 1}


def _both(
    classes: Sequence[str], spelt: Callable[[str], str], short: Sequence[str] = ()
) -> Mapping[str, str]:
    """The classes by their own names and as text, and short names that stand for themselves."""
    return {**{spelt(name): name for name in classes}, **{n: n for n in (*short, *classes)}}


@dataclass(frozen=True)
class Optimizer(_Named):
    """An optimizer of Keras."""

    kind = "optimizer"
    example = "{adam: {learning_rate: 0.001}}"
    names = _both(OPTIMIZERS, str.lower)


@dataclass(frozen=True)
class Loss(_Named):
    """A loss of Keras, or a list or a mapping with one for each output."""

    kind = "loss"
    example = "{huber: {delta: 0.5}}"
    names = _both(LOSSES, snake_case, _SHORT_LOSSES)

    @classmethod
    def from_recipe(cls, value: object, _folder: Path) -> Self:
        """As the recipe has it; each output may have its own."""
        if isinstance(value, list):
            return cls([cls.one(item) for item in value])
        if isinstance(value, Mapping) and not value.keys() & {"class_name", *cls.names}:
            return cls({name: cls.one(item) for name, item in value.items()})
        return cls(cls.one(value))

    @classmethod
    def schema(cls) -> Mapping[str, object]:
        """Its JSON Schema."""
        return {"type": ["string", "object", "array"], "minLength": 1}


@dataclass(frozen=True)
class Metric(_Named):
    """A metric of Keras."""

    kind = "metric"
    example = "{auc: {num_thresholds: 100}}"
    names = _both(METRICS, snake_case, _SHORT_METRICS)


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Stop when a metric no longer gets better."""

    monitor: str = key("The metric.", "val_loss", default="val_loss")
    patience: int = key("Epochs without progress.", 5, default=0, minimum=0)
    min_delta: float = key("What counts as progress.", 0.001, default=0.0)
    mode: str = key("auto, min or max.", "auto", default="auto", enum=["auto", "min", "max"])
    restore_best_weights: bool = key("Go back to the best epoch.", True, default=False)
    start_from_epoch: int = key("Epochs before it begins to look.", 0, default=0, minimum=0)


@dataclass(frozen=True, kw_only=True)
class ReduceLROnPlateau:
    """Lower the learning rate when a metric no longer gets better."""

    monitor: str = key("The metric.", "val_loss", default="val_loss")
    factor: float = key("What the rate is multiplied by.", 0.5, default=0.1)
    patience: int = key("Epochs without progress.", 2, default=10, minimum=0)
    min_delta: float = key("What counts as progress.", 0.0001, default=0.0001)
    cooldown: int = key("Epochs to wait after lowering it.", 0, default=0, minimum=0)
    min_lr: float = key("The lowest rate.", 0.00001, default=0.0)
    mode: str = key("auto, min or max.", "auto", default="auto", enum=["auto", "min", "max"])


@dataclass(frozen=True, kw_only=True)
class ModelCheckpoint:
    """Save the model after epochs, beside what the run itself writes."""

    filepath: Path = key("Where to, by Keras's own pattern.", "out/epoch-{epoch:02d}.keras")
    monitor: str = key("The metric.", "val_loss", default="val_loss")
    save_best_only: bool = key("Only when the metric got better.", True, default=False)
    save_weights_only: bool = key("Only the weights.", True, default=False)
    mode: str = key("auto, min or max.", "auto", default="auto", enum=["auto", "min", "max"])


@dataclass(frozen=True, kw_only=True)
class TensorBoard:
    """Write logs that TensorBoard shows."""

    log_dir: Path = key("The folder.", "out/logs")
    histogram_freq: int = key("Histograms of weights every so many epochs.", 1, default=0)


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

    def paths(self) -> list[Path]:
        """Where they write to."""
        given = [getattr(self, name) for name in self.__dataclass_fields__]
        values = (value for each in given if each is not None for value in vars(each).values())
        return [value for value in values if isinstance(value, Path)]

    def calls(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Keras's class and arguments of each."""
        given = [getattr(self, name) for name in self.__dataclass_fields__]
        return [(type(each).__name__, _arguments(each)) for each in given if each is not None]


def _arguments(callback: Any) -> dict[str, Any]:
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in vars(callback).items()
    }
