"""Recurrent layers with a hard sigmoid, which Keras 2 and Keras 3 define differently.

Keras 2 has clip(0.2 x + 0.5, 0, 1), Keras 3 relu6(x + 3) / 6, which is clip(x / 6 + 0.5, 0, 1).
A gate's x is linear in its columns of kernel, recurrent kernel and bias, so scaling these by a
constant converts one into the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from surgery.architecture.tree import Architecture

TO_KERAS_3 = 1.2
TO_KERAS_2 = 1 / 1.2

# Ranges [first, last) of the gates that take the recurrent activation, in the order of columns.
_SIGMOID_GATES = {
    "LSTMCell": ((0, 2), (3, 4)),  # i, f, c, o: c takes the other activation
    "ConvLSTMCell": ((0, 2), (3, 4)),
    "GRUCell": ((0, 2),),  # z, r, h: h takes the other activation
}


@dataclass(frozen=True)
class ScaledColumns:
    """Ranges [first, last) of a weight's last axis that are multiplied by a factor."""

    factor: float
    columns: tuple[tuple[int, int], ...]


def scaled_gates(architecture: Architecture, factor: float) -> Mapping[str, ScaledColumns]:
    """Return by address the columns of the gates that a hard sigmoid is applied to.

    The factor is TO_KERAS_3 or TO_KERAS_2.
    """
    scaled: dict[str, ScaledColumns] = {}
    for cell in architecture.root.walk():
        gates = _SIGMOID_GATES.get(cell.class_name)
        if gates is None or cell.config.get("recurrent_activation") != "hard_sigmoid":
            continue
        units = int(cell.config["filters" if "filters" in cell.config else "units"])
        columns = tuple((first * units, last * units) for first, last in gates)
        for variable in cell.variables or ():
            scaled[variable.address] = ScaledColumns(factor, columns)
    return scaled
