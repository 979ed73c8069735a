"""A layer of a model's layer tree, and its variables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from surgery.architecture.entries import Keys
from surgery.architecture.variables import Config


@dataclass(frozen=True)
class LayerVariable:
    """A variable of a layer, and the path at which Keras 3 stores it.

    `trainable` is the variable's own flag: whether an unfrozen layer trains it. `position` is its
    index among the layer's own variables in `layer.weights`.
    """

    name: str
    trainable: bool
    address: str
    stored: str
    position: int


@dataclass(frozen=True)
class Layer:
    """A layer (or the model itself, whose address is empty) as Keras builds it from its config.

    `group` is its path in a Keras 3 weights file; `keys` is the path of keys from the model's
    config to the layer's own, or None for a layer that Keras creates itself, such as a cell.
    `variables` is None for a class that is not Keras's own. `trainable` is whether Keras
    trains its variables after loading. `repeat` marks another use of a shared layer.
    """

    name: str
    class_name: str
    address: str
    group: str
    config: Config
    keys: Keys | None
    variables: tuple[LayerVariable, ...] | None
    children: tuple[Layer, ...] = ()
    trainable: bool = True
    forgets_freeze: bool = False
    repeat: bool = False

    def owns(self, address: str) -> bool:
        """Return whether an address is of a weight of this layer or of a layer inside it."""
        return address.startswith(f"{self.address}/") or not self.address

    def walk(self) -> Iterator[Layer]:
        """Yield this layer and all below it, owners first, each shared layer once."""
        if self.repeat:
            return
        yield self
        for child in self.children:
            yield from child.walk()

    def weights(self) -> Iterator[tuple[Layer, LayerVariable]]:
        """Yield (layer, variable) in the order of Keras's `layer.weights`."""
        for variable in sorted(self.variables or (), key=lambda variable: variable.position):
            yield self, variable
        for child in self.children:
            yield from child.weights()
