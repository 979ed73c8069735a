"""New layers as a recipe writes them: Keras's classes with their arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from surgery.declared.compiling import NamedClass, signatures
from surgery.errors import did_you_mean

_WRAPPED = ("layer", "backward_layer")


@dataclass(frozen=True)
class NewLayer(NamedClass):
    """A layer of Keras, by its class and arguments."""

    kind = "layer"
    classes = "layers"
    example = "{Dense: {units: 64, activation: relu}}"

    @classmethod
    def from_recipe(cls, value: object, _folder: Path) -> Self:
        """Read `Flatten`, `{Dense: {units: 64}}`, or Keras's config."""
        if isinstance(value, str):
            return cls(cls.serialized(cls.known(value), {}))
        return cls(cls.one(value))

    @classmethod
    def known(cls, name: str) -> str:
        """Return the class's name; raises ValueError for one that Keras does not have."""
        there = signatures()["layers"]
        if ">" not in name and name not in there:
            raise ValueError(f"Keras has no layer {name!r}{did_you_mean(name, there)}")
        return name

    @classmethod
    def arguments(cls, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return its arguments; a layer that it wraps is written as a layer is."""
        found = super().arguments(name, given)
        wrapped = {key: cls.one(found[key]) for key in _WRAPPED if isinstance(found.get(key), dict)}
        return {**found, **wrapped}

    @property
    def class_name(self) -> str:
        """The class's name."""
        return str(self.value["class_name"])

    @property
    def config(self) -> Mapping[str, Any]:
        """The arguments that are given."""
        return self.value.get("config") or {}
