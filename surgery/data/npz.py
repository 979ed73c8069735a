"""Arrays in one `.npz` file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from surgery.data import _arrays
from surgery.declared.data import Data, Examples, Names, data, used
from surgery.declared.fields import key


@data
@dataclass(frozen=True, kw_only=True)
class Npz(Data):
    """Arrays of a .npz file, one example a row."""

    kind = "npz"

    npz: Path = key("A .npz file with an array for x and one for y.", "digits.npz")
    x: Names = key(
        "The inputs: an array's name, a list of names, or a name for each of the model's inputs.",
        "x_train",
        default=Names("x"),
        in_example=True,
    )
    y: Names | None = key(
        "The labels, in the same forms; null for none.",
        "y_train",
        default=Names("y"),
        in_example=True,
    )
    sample_weight: str | None = key("The weight of each example.", "weight", default=None)

    def __post_init__(self) -> None:
        if self.y is None and self.sample_weight is not None:
            raise ValueError("sample_weight requires y")

    def inputs(self) -> tuple[Path, ...]:
        return (self.npz,)

    def without_labels(self) -> Data:
        return replace(self, y=None, sample_weight=None)

    def open(self) -> Examples:
        arrays = _arrays.npz(self.npz, used(self.x, self.y, self.sample_weight))
        return _arrays.examples(arrays, str(self.npz), self.x, self.y, self.sample_weight)
