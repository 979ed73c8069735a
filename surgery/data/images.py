"""Folders of images, with a folder for each class if labels are needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from surgery.declared.data import Column, Data, Examples, Names, Rows, data
from surgery.declared.fields import key
from surgery.errors import FormatError
from surgery.live.decoding import decode_image
from surgery.weights.tensor import Array

_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp")


@data
@dataclass(frozen=True, kw_only=True)
class Images(Data):
    """Images (JPEG, PNG, GIF, BMP) in a folder for each class, as floats from 0 to 255."""

    kind = "images"

    images: Path = key(
        "A folder with a folder of images for each class; for predict and activations any images "
        "in it.",
        "flowers",
    )
    size: tuple[int, ...] = key("Height and width to resize to, in pixels.", [224, 224])
    channels: Literal[1, 3, 4] = key("Grey, RGB, or RGB with alpha.", 3, default=3)
    classes: tuple[str, ...] | None = key(
        "The folders in the order of their class indices 0, 1, ...; alphabetical by default.",
        ["daisy", "rose"],
        default=None,
    )

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError("size is a height and a width, such as [224, 224]")

    is_labelled: bool = True

    def inputs(self) -> tuple[Path, ...]:
        return (self.images,)

    def without_labels(self) -> Data:
        return replace(self, is_labelled=False)

    def open(self) -> Examples:
        if not self.images.is_dir():
            raise FormatError(f"{self.images} is not a folder")
        files = self._labelled() if self.is_labelled or self.classes else self._all()

        def gather(rows: Rows) -> Mapping[str, Array]:
            x = np.stack([self._pixels(files[row][0]) for row in rows])
            return {"x": x, "y": np.array([files[row][1] for row in rows], np.int64)}

        columns = {
            "x": Column((*self.size, self.channels), np.dtype(np.float32)),
            "y": Column((), np.dtype(np.int64)),
        }
        names = [file.relative_to(self.images).as_posix() for file, _ in files]
        made = Examples(len(files), columns, gather, Names("x"), files=names)
        if not self.is_labelled:
            return made
        numbers = np.array([label for _, label in files], np.int64)
        return replace(made, y=Names("y"), labels=lambda: numbers, by_class=True)

    def _labelled(self) -> list[tuple[Path, int]]:
        """Return (image, class index) of all images; raises FormatError if there are none."""
        there = sorted(path.name for path in self.images.iterdir() if path.is_dir())
        classes = self.classes or tuple(there)
        if missing := [name for name in classes if name not in there]:
            raise FormatError(f"{self.images} has no folder {missing[0]}")
        files = [(file, label) for label, name in enumerate(classes)
                 for file in _images(self.images / name)]  # fmt: skip
        if not files and _images(self.images):
            raise FormatError(
                f"{self.images} has images, but not in folders of classes; without labels they go "
                "into predict and activations only"
            )
        if not files:
            raise FormatError(f"{self.images} has no images in folders of their classes")
        return files

    def _all(self) -> list[tuple[Path, int]]:
        """Return (image, 0) of all images; raises FormatError if there are none.

        Subfolders are not classes.
        """
        files = [(file, 0) for file in _images(self.images)]
        if not files:
            raise FormatError(f"{self.images} has no images ({', '.join(_SUFFIXES)})")
        return files

    def _pixels(self, file: Path) -> Array:
        return decode_image(file.read_bytes(), str(file), self.channels, self.size)


def _images(folder: Path) -> list[Path]:
    """Return all images below a folder, sorted by path."""
    return [file for file in sorted(folder.rglob("*")) if file.suffix.lower() in _SUFFIXES]
