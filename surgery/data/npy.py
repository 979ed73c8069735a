"""Arrays in separate `.npy` files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from surgery.data import _arrays
from surgery.declared.data import Data, Examples, Names, data
from surgery.declared.fields import key


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The files of inputs, labels and sample weights."""

    x: Path = key("The inputs, one example a row.", "x.npy")
    y: Path | None = key("The labels.", "y.npy", default=None)
    sample_weight: Path | None = key("The weight of each example.", "weight.npy", default=None)

    def __post_init__(self) -> None:
        if self.y is None and self.sample_weight is not None:
            raise ValueError("sample_weight requires y")


@data
@dataclass(frozen=True, kw_only=True)
class Npy(Data):
    """Arrays in .npy files, one example a row; they may be larger than memory."""

    kind = "npy"

    npy: Pair = key("The files.", {"x": "x.npy", "y": "y.npy"})

    def inputs(self) -> tuple[Path, ...]:
        files = (self.npy.x, self.npy.y, self.npy.sample_weight)
        return tuple(file for file in files if file is not None)

    def without_labels(self) -> Data:
        return Npy(npy=Pair(x=self.npy.x))

    def open(self) -> Examples:
        files = {"x": self.npy.x, "y": self.npy.y, "sample_weight": self.npy.sample_weight}
        arrays = {name: _arrays.npy(path) for name, path in files.items() if path is not None}
        y = Names("y") if "y" in arrays else None
        weight = "sample_weight" if "sample_weight" in arrays else None
        return _arrays.examples(arrays, str(self.npy.x), Names("x"), y, weight)
