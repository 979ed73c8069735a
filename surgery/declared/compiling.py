"""The arguments of `compile`: Keras's own names, checked without Keras."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from surgery.architecture import snake_case
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
SCHEDULES = (
    "CosineDecay", "CosineDecayRestarts", "ExponentialDecay", "InverseTimeDecay",
    "PiecewiseConstantDecay", "PolynomialDecay",
)  # fmt: skip
"""The classes of each kind; a test compares them with Keras's."""

_SHORT_LOSSES = ("bce", "kld", "mae", "mape", "mse", "msle")
_SHORT_METRICS = ("accuracy", "acc", "crossentropy", "ce", "bce", "mae", "mape", "mse", "msle")
_OLD = {
    "lr": " (it is learning_rate)",
    "decay": " (write learning_rate: {inverse_time_decay: ...})",
}
"""Keras 2's arguments, with a hint on their equivalents in Keras 3."""


@functools.cache
def signatures() -> Mapping[str, Mapping[str, Mapping[str, Sequence[str]]]]:
    """Return the arguments that each class `takes` and `needs`, by kind and class.

    `tests/live/signatures.py` generates the table.
    """
    made: Mapping[str, Mapping[str, Mapping[str, Sequence[str]]]] = json.loads(
        Path(__file__).with_name("signatures.json").read_text()
    )
    return made


@dataclass(frozen=True)
class NamedClass:
    """A class name, or a class with its arguments, in the form that Keras takes."""

    value: Any
    kind: ClassVar[str] = ""
    classes: ClassVar[str] = ""
    names: ClassVar[Mapping[str, str]]
    example: ClassVar[str] = ""

    @classmethod
    def from_recipe(cls, value: object, _folder: Path) -> Self:
        """Read `adam`, `{adam: {learning_rate: 0.001}}`, or Keras's config."""
        return cls(cls.one(value))

    @property
    def text(self) -> str:
        """The name alone."""
        value = self.value
        return str(value["class_name"] if isinstance(value, Mapping) else value)

    @classmethod
    def one(cls, value: object) -> object:
        """Return a single value in the form that Keras takes; raises ValueError or TypeError."""
        if isinstance(value, str):
            cls.known(value)
            return value
        if not isinstance(value, Mapping):
            raise TypeError
        if "class_name" in value:
            name, config = value["class_name"], value.get("config")
            if name in signatures()[cls.classes] and isinstance(config, Mapping):
                return {**value, "config": cls.arguments(name, config)}
            return dict(value)
        if len(value) == 1:
            ((name, config),) = value.items()
            if isinstance(config, Mapping):
                return cls.serialized(cls.known(name), config)
        raise ValueError(f"write {cls.kind} as a name, or as {cls.example}")

    @classmethod
    def serialized(cls, name: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return a class with its arguments in Keras's form."""
        return {"class_name": name, "config": cls.arguments(name, config)}

    @classmethod
    def arguments(cls, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return a class's arguments, checked; raises ValueError for wrong or missing ones."""
        if ">" in name:
            return dict(given)
        if (row := signatures()[cls.classes].get(name)) is None:
            raise ValueError(f"{name!r} takes no arguments; write the class, as in {cls.example}")
        for argument in given:
            if argument not in row["takes"]:
                hint = _OLD.get(argument) or did_you_mean(argument, row["takes"])
                has = ", ".join(row["takes"])
                raise ValueError(f"{name} has no argument {argument!r}{hint}; it has {has}")
        if missing := [argument for argument in row["needs"] if argument not in given]:
            raise ValueError(f"{name} needs {' and '.join(missing)}")
        return dict(given)

    @classmethod
    def known(cls, name: str) -> str:
        """Return the class for a name in a recipe; raises ValueError for an unknown one."""
        if ">" in name:  # a registered custom class
            return name
        if name not in cls.names:
            raise ValueError(
                f"Keras has no {cls.kind} {name!r}{did_you_mean(name, cls.names)}; "
                f"it has {', '.join(dict.fromkeys(cls.names))}"
            )
        return cls.names[name]

    @classmethod
    def schema(cls) -> Mapping[str, object]:
        """Return its JSON Schema."""
        return {"type": ["string", "object"], "minLength": 1}


def _both(
    classes: Sequence[str], spelt: Callable[[str], str], short: Sequence[str] = ()
) -> Mapping[str, str]:
    """Return classes by their own names, by `spelt(name)`, and by the names in `short`."""
    return {**{spelt(name): name for name in classes}, **{n: n for n in (*short, *classes)}}


@dataclass(frozen=True)
class LearningRate(NamedClass):
    """A number, or a learning rate schedule of Keras."""

    kind = "learning rate"
    classes = "schedules"
    example = "{cosine_decay: {initial_learning_rate: 0.001, decay_steps: 1000}}"
    names = _both(SCHEDULES, snake_case)

    @classmethod
    def one(cls, value: object) -> object:
        """Return a number unchanged, a schedule in Keras's form; raises ValueError."""
        if isinstance(value, str):
            raise ValueError(f"write a learning rate as a number, or as {cls.example}")
        if isinstance(value, int | float) and not isinstance(value, bool):
            if not 0 <= value < math.inf:
                raise ValueError(
                    f"{value} is not a learning rate; write a finite number of at least 0"
                )
            return float(value)
        return super().one(value)

    @classmethod
    def serialized(cls, name: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return a schedule in Keras's form, with its module."""
        made = super().serialized(name, config)
        return {"module": "keras.optimizers.schedules", **made, "registered_name": None}

    @classmethod
    def schema(cls) -> Mapping[str, object]:
        """Return its JSON Schema."""
        return {"type": ["number", "object"], "minimum": 0}


KEEP = "keep"
"""The value of `optimizer` that keeps the model's own."""


@dataclass(frozen=True)
class Optimizer(NamedClass):
    """An optimizer of Keras, or `keep`."""

    kind = "optimizer"
    classes = "optimizers"
    example = "{adam: {learning_rate: 0.001}}"
    names = _both(OPTIMIZERS, str.lower, (KEEP,))

    @classmethod
    def arguments(cls, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Check the arguments, and return them; the learning rate may be a schedule."""
        found = super().arguments(name, given)
        if found.get("learning_rate") is not None:
            found["learning_rate"] = LearningRate.one(found["learning_rate"])
        return found

    @property
    def config(self) -> Mapping[str, Any]:
        """The arguments in the recipe."""
        return (self.value.get("config") or {}) if isinstance(self.value, Mapping) else {}


@dataclass(frozen=True)
class Loss(NamedClass):
    """A loss of Keras, or a list or a mapping with one for each output."""

    kind = "loss"
    classes = "losses"
    example = "{huber: {delta: 0.5}}"
    names = _both(LOSSES, snake_case, _SHORT_LOSSES)

    @classmethod
    def from_recipe(cls, value: object, _folder: Path) -> Self:
        """Read a loss, or one for each output."""
        if isinstance(value, list):
            return cls([cls.one(item) for item in value])
        if isinstance(value, Mapping) and not value.keys() & {"class_name", *cls.names}:
            return cls({name: cls.one(item) for name, item in value.items()})
        return cls(cls.one(value))

    @classmethod
    def schema(cls) -> Mapping[str, object]:
        """Return its JSON Schema."""
        return {"type": ["string", "object", "array"], "minLength": 1}

    @property
    def outputs(self) -> int:
        """The number of outputs with a loss of their own; 1 for a single loss."""
        value = self.value
        is_each = isinstance(value, list) or (
            isinstance(value, Mapping) and "class_name" not in value
        )
        return len(value) if is_each else 1


@dataclass(frozen=True)
class KerasMetric(NamedClass):
    """A metric of Keras."""

    kind = "metric"
    classes = "metrics"
    example = "{auc: {num_thresholds: 100}}"
    names = _both(METRICS, snake_case, _SHORT_METRICS)
