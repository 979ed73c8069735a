"""The key `verify`: a step compares the outputs of the models before and after it."""

from __future__ import annotations

from dataclasses import dataclass

from surgery.declared.data import Data
from surgery.declared.fields import key


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The inputs of a comparison of two models, and the tolerance for their outputs."""

    examples: int = key(
        "How many inputs are drawn where there are no data.", 8, default=4, minimum=1
    )
    tolerance: float = key(
        "The largest max|a - b| / max|a| of an output.", 1e-5, default=1e-4, minimum=0
    )
    data: Data | None = key("Inputs to use instead of drawn ones.", "digits.npz", default=None)


VERIFY = (
    "Whether the model before the step and the one after it are run on drawn inputs, and nothing "
    "is written where their outputs differ: true, false, or {examples, tolerance, data}. It needs "
    "TensorFlow."
)
"""The description of the key `verify`."""
