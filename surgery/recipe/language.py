"""The recipe itself: frozen, typed, and independent of its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from surgery.declared.fields import key
from surgery.expectations.base import Expectation
from surgery.formats.base import Format
from surgery.ops.base import Op
from surgery.ops.live import LiveOp
from surgery.recipe.document import Document, Place
from surgery.recipe.dropping import Training
from surgery.recipe.matrix import NAME, VALUE
from surgery.weights.sources import Donor, Source

VERSION = 1

_Meta = Mapping[str, Any]
TOP: Mapping[str, tuple[Any, _Meta]] = {
    "surgery": (
        int,
        {
            "description": "The version of the recipe language.",
            "example": VERSION,
            "schema": {"type": "integer", "const": VERSION},
        },
    ),
    "name": (
        str,
        {
            "description": "The recipe's name: letters, digits, . _ and -.",
            "example": "vgg16-boost",
            "schema": {"pattern": r"^[A-Za-z0-9._-]+$"},
        },
    ),
    "seed": (
        int,
        {
            "description": "The seed of all random numbers.",
            "example": 42,
            "schema": {"minimum": 0, "maximum": 2**63 - 1},
        },
    ),
    "env": (
        tuple[str, ...],
        {
            "description": "The environment variables that ${env:NAME} and ${env:NAME:default} may "
            "refer to; their values are written to the manifest.",
            "example": ["DATA_DIR"],
            "schema": {"type": "array", "items": {"type": "string", "pattern": NAME}},
        },
    ),
    "params": (
        dict,
        {
            "description": "Values used as ${name}, each with its default, which may use earlier "
            "ones; -p name=value overrides it.",
            "example": {"lowest": "10%"},
            "schema": {"additionalProperties": VALUE, "propertyNames": {"pattern": NAME}},
        },
    ),
}


def step_name() -> tuple[Any, _Meta]:
    """Return the type and facts of a step's key `name`."""
    return str, {
        "description": "The step's name in progress, errors and the names of its metrics.",
        "example": "prune the classifier",
        "schema": {},
    }


@dataclass(frozen=True, kw_only=True)
class Target:
    """A file or folder to which the model is written."""

    format: Format
    path: Path = key("The path to write.", "out/model.keras")
    optimizer: Training = key(
        "Whether to write optimizer state and compile config, if the format can: keep "
        "(the default), drop, or a mapping.",
        "drop",
        default=Training(),
    )


@dataclass(frozen=True)
class Step:
    """One op of the recipe; `place` is its position in the document."""

    op: Op
    name: str | None
    place: Place

    @property
    def title(self) -> str:
        """The title in progress and reports."""
        return self.name or self.op.title


@dataclass(frozen=True)
class Expected:
    """One expectation of the recipe, and its position in the document."""

    expectation: Expectation
    place: Place


@dataclass(frozen=True)
class Recipe:
    """A valid recipe, checked against the schema and built."""

    file: str
    document: Document
    name: str
    seed: int
    load: Source
    steps: tuple[Step, ...]
    expect: tuple[Expected, ...]
    export: tuple[Target, ...]
    params: Mapping[str, Any] = field(default_factory=dict)
    resolved: Mapping[str, Any] = field(default_factory=dict)
    """The contents of the file, with references to parameters replaced by values."""

    index: int | None = None
    """The number of this run in the matrix; None without a matrix."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """The values of this run in the matrix."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """The packages that provide some of its words, with their versions."""

    def __repr__(self) -> str:
        return f"<Recipe {self.name}: {len(self.steps)} steps, {len(self.export)} targets>"

    @property
    def home(self) -> Path:
        """The folder of the first output, or the recipe's own if only a manifest is written."""
        written = [target.path for target in self.export]
        live = (step.op for step in self.steps if isinstance(step.op, LiveOp))
        written += [path for op in live for path in op.outputs()]
        return written[0].parent if written else Path(self.file).parent

    def donors(self) -> list[Donor]:
        """Return the other models that its steps and expectations read, in order."""
        of_steps = [donor for step in self.steps for donor in step.op.donors()]
        return [*of_steps, *(d for each in self.expect for d in each.expectation.donors())]

    def sources(self) -> list[Source]:
        """Return the sources of all its models: the loaded one, then the donors."""
        return [self.load, *(donor.source for donor in self.donors())]
