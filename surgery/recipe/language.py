"""The recipe itself: frozen, typed, and only what its file says."""

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
from surgery.weights.sources import Source

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
            "description": "What every random number is drawn from.",
            "example": 42,
            "schema": {"minimum": 0, "maximum": 2**63 - 1},
        },
    ),
    "env": (
        tuple[str, ...],
        {
            "description": "The environment variables that ${env:NAME} and ${env:NAME:default} may "
            "stand for; their values go into the manifest.",
            "example": ["DATA_DIR"],
            "schema": {"type": "array", "items": {"type": "string", "pattern": NAME}},
        },
    ),
    "params": (
        dict,
        {
            "description": "Values used as ${name}, each with its default, in which those before "
            "it may stand; -p name=value gives another.",
            "example": {"lowest": "10%"},
            "schema": {"additionalProperties": VALUE, "propertyNames": {"pattern": NAME}},
        },
    ),
}


def step_name() -> tuple[Any, _Meta]:
    """Return the key of a step that is not an op."""
    return str, {
        "description": "What the step is called in progress and errors, and its metrics after it.",
        "example": "prune the classifier",
        "schema": {},
    }


@dataclass(frozen=True, kw_only=True)
class Target:
    """A file or folder that the model is written to."""

    format: Format
    path: Path = key("Where it is written.", "out/model.keras")
    optimizer: Training = key(
        "Whether optimizer state and compile config go along, where the format holds them: keep "
        "(the default), drop, or a mapping.",
        "drop",
        default=Training(),
    )


@dataclass(frozen=True)
class Step:
    """One op of the recipe; `place` is where it stands in the document."""

    op: Op
    name: str | None
    place: Place

    @property
    def title(self) -> str:
        """Return what progress and reports call it."""
        return self.name or self.op.title


@dataclass(frozen=True)
class Expected:
    """One expectation of the recipe, and where it stands in the document."""

    expectation: Expectation
    place: Place


@dataclass(frozen=True)
class Recipe:
    """A recipe that is valid: it has been checked against the schema and built."""

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
    """What the file says, with every parameter's value in its place."""

    index: int | None = None
    """Which run of its matrix it is."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """What the matrix gives this run."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """The packages that some of its words are from, with their versions."""

    def __repr__(self) -> str:
        return f"<Recipe {self.name}: {len(self.steps)} steps, {len(self.export)} targets>"

    @property
    def home(self) -> Path:
        """Return its first output's folder; its own where it writes nothing but its manifest."""
        written = [target.path for target in self.export]
        live = (step.op for step in self.steps if isinstance(step.op, LiveOp))
        written += [path for op in live for path in op.outputs()]
        return written[0].parent if written else Path(self.file).parent

    def sources(self) -> list[Source]:
        """Return where all its models come from: the one that is loaded, then the donors."""
        donors = (donor for step in self.steps for donor in step.op.donors())
        return [self.load, *(donor.source for donor in donors)]
