"""Upper limits for FLOPs, parameters or bytes: a share of the model's own, or a number."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from surgery.declared.fields import Share

_UNITS = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}


@dataclass(frozen=True)
class Budget:
    """A share of the model's own (`50%`, 0.5), or a count (`10000000`, `10MB`)."""

    share: Share | None
    count: int
    text: str

    @classmethod
    def from_recipe(cls, value: object, _folder: Path) -> Budget:
        """Read a share or a count; raises ValueError for anything else."""
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise TypeError
        text = str(value).strip()
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?(B|kB|MB|GB|)", text)
        if found is not None and (found[2] or Fraction(found[1]) > 1):
            return cls(None, int(Fraction(found[1]) * _UNITS[found[2]]), text)
        share = Share.parse(value)
        if not share.fraction:
            raise ValueError(f"{value!r} leaves nothing")
        return cls(share, 0, text)

    @classmethod
    def schema(cls) -> Mapping[str, object]:
        """Return its JSON Schema."""
        return {"type": ["number", "string"], "exclusiveMinimum": 0}

    def __str__(self) -> str:
        return self.text

    def of(self, whole: int) -> int:
        """Return the count that is allowed of a model that has `whole`."""
        return self.count if self.share is None else int(self.share.fraction * whole)
