"""A model's architecture: its config as a tree of layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from surgery.architecture.building import tree_of
from surgery.architecture.entries import layer_entries
from surgery.architecture.layer import Layer


@dataclass(frozen=True)
class Architecture:
    """A model's config, as Keras serialises it; never changed in place."""

    config: Mapping[str, Any]
    shares_layers: bool = True

    def __repr__(self) -> str:
        return f"<Architecture {self.config.get('class_name')}: {len(self.layers)} layers>"

    @cached_property
    def root(self) -> Layer:
        """The model as a tree of layers; raises ConfigError where it is none."""
        return tree_of(self.config, self.shares_layers)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Every layer but the model itself, in layer order."""
        return tuple(self.root.walk())[1:]

    @cached_property
    def weight_order(self) -> Mapping[str, int]:
        """The place of each known weight in Keras's `model.weights`."""
        addresses = dict.fromkeys(variable.address for _, variable in self.root.weights())
        return {address: place for place, address in enumerate(addresses)}

    @cached_property
    def by_address(self) -> Mapping[str, Layer]:
        """The layers by their addresses; the model itself has the empty one."""
        return {layer.address: layer for layer in self.root.walk()}

    def owner(self, address: str) -> Layer:
        """The innermost layer that has a weight of that address."""
        while address and address not in self.by_address:
            address = address.rpartition("/")[0]
        return self.by_address.get(address, self.root)

    def configured_owner(self, address: str) -> Layer:
        """The innermost layer with a config of its own: for a cell's weight, the RNN layer."""
        owner = self.owner(address)
        while owner.keys is None:
            owner = self.owner(owner.address.rpartition("/")[0])
        return owner

    def is_trained(self, address: str, variable_trains: bool) -> bool | None:
        """Whether a weight is in the `trainable_weights` of the model that Keras loads.

        None where that is for a custom class to say.
        """
        owner = self.owner(address)
        if not (self.root.trainable and variable_trains and owner.trainable):
            return False
        return None if owner.variables is None else True

    @property
    def is_graph(self) -> bool:
        """True where the config lists the model's layers (functional or Sequential)."""
        return layer_entries(self.config) is not None
