"""A model's architecture: its config as a tree of layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar, cast

from surgery.architecture.building import tree_of
from surgery.architecture.entries import layer_entries
from surgery.architecture.layer import Layer

Made = TypeVar("Made")


@dataclass(frozen=True)
class Architecture:
    """A model's config, as Keras serialises it; immutable."""

    config: Mapping[str, Any]
    shares_layers: bool = True

    def __repr__(self) -> str:
        return f"<Architecture {self.config.get('class_name')}: {len(self.layers)} layers>"

    @cached_property
    def root(self) -> Layer:
        """The model as a tree of layers; raises ConfigError if the config is malformed."""
        return tree_of(self.config, self.shares_layers)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """All layers except the model itself, in layer order."""
        return tuple(self.root.walk())[1:]

    @cached_property
    def weight_order(self) -> Mapping[str, int]:
        """The index of each known weight in Keras's `model.weights`, by address."""
        addresses = dict.fromkeys(variable.address for _, variable in self.root.weights())
        return {address: place for place, address in enumerate(addresses)}

    @cached_property
    def by_address(self) -> Mapping[str, Layer]:
        """The layers by address; the model itself has the empty address."""
        return {layer.address: layer for layer in self.root.walk()}

    def once(self, make: Callable[[Architecture], Made]) -> Made:
        """Return `make(architecture)`, computed once for this one, which never changes."""
        made: dict[Any, Any] = self.__dict__.setdefault("_made", {})
        if make not in made:
            made[make] = make(self)
        return cast(Made, made[make])

    def owner(self, address: str) -> Layer:
        """Return the innermost layer that contains a weight of that address."""
        while address and address not in self.by_address:
            address = address.rpartition("/")[0]
        return self.by_address.get(address, self.root)

    def configured_owner(self, address: str) -> Layer:
        """Return the innermost owner with its own config: for a cell's weight, the RNN layer."""
        owner = self.owner(address)
        while owner.keys is None:
            owner = self.owner(owner.address.rpartition("/")[0])
        return owner

    def is_trained(self, address: str, variable_trains: bool) -> bool | None:
        """Return whether Keras has a weight in `trainable_weights` after loading the model.

        None for a weight of a custom class, which decides itself.
        """
        owner = self.owner(address)
        if not (self.root.trainable and variable_trains and owner.trainable):
            return False
        return None if owner.variables is None else True

    @property
    def is_graph(self) -> bool:
        """True if the config lists the model's layers (functional or Sequential)."""
        return layer_entries(self.config) is not None
