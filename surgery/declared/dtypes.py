"""The name of a dtype, as a key of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surgery.weights.tensor import dtype_named


@dataclass(frozen=True)
class DType:
    """The name of a dtype that weights have."""

    value: str

    @classmethod
    def from_recipe(cls, value: object, _folder: Path) -> DType:
        """Read a name; raises ValueError if it is none of a dtype of numbers."""
        if not isinstance(value, str):
            raise TypeError
        try:
            dtype = dtype_named(value)
        except (TypeError, AttributeError):
            raise ValueError(f"{value!r} is no dtype; for example float32, bfloat16") from None
        is_plain = dtype.type is np.void  # bytes or fields, not one of ml_dtypes
        if dtype.kind not in "biufcV" or is_plain or dtype.itemsize == 0:
            raise ValueError(f"{value!r} is no dtype of numbers; for example float32, bfloat16")
        return cls(value)

    @classmethod
    def schema(cls) -> Mapping[str, object]:
        """Return its JSON Schema."""
        return {"type": "string", "minLength": 1}

    def __str__(self) -> str:
        return self.value

    @property
    def numpy(self) -> np.dtype[Any]:
        """The dtype itself."""
        return dtype_named(self.value)
