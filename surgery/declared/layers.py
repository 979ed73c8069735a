"""New layers as a recipe writes them: Keras's classes with their arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from surgery.architecture import snake_case
from surgery.declared.compiling import NamedClass, signatures
from surgery.errors import did_you_mean

_WRAPPED = ("layer", "backward_layer")
_OBJECTS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "regularizer": ("regularizers", {"L1": "l1", "L2": "l2", "L1L2": "", "Orthogonal": "factor"}),
    "constraint": (
        "constraints",
        {"MaxNorm": "max_value", "MinMaxNorm": "", "NonNeg": "", "UnitNorm": "axis"},
    ),
    "initializer": ("initializers", {"Constant": "value"}),
}
"""By the end of a key: Keras's module, its classes, and the argument that a bare number is."""


def with_objects(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments whose regularizers, constraints and initializers are in Keras's form.

    `{l2: 0.0001}` and `{max_norm: {max_value: 2}}` become configs of Keras's classes; names and
    configs stay as they are. Raises ValueError for a regularizer or constraint that Keras lacks.
    """
    return {key: _object(key, value) for key, value in config.items()}


def _object(key: str, value: Any) -> Any:
    end = key.rpartition("_")[2]
    if end not in _OBJECTS or not isinstance(value, Mapping) or "class_name" in value:
        return value
    module, classes = _OBJECTS[end]
    if set(value) == {"l1", "l2"} and end == "regularizer":
        name, arguments = "L1L2", dict(value)
    else:
        ((given, inner),) = value.items() if len(value) == 1 else ((str(value), None),)
        known = {snake_case(each).replace("_", ""): each for each in classes}
        name = known.get(str(given).replace("_", "").lower(), "")
        if not name and end == "initializer":
            name = "".join(part.title() for part in str(given).split("_"))
            name = name if str(given).islower() else str(given)
        if not name:
            raise ValueError(f"{key}: {given!r} is not among {', '.join(sorted(classes))}")
        bare = classes.get(name, "")
        if not (isinstance(inner, Mapping) or inner is None or bare):
            raise ValueError(f"{key}: write the arguments of {given} by name, not {inner!r}")
        arguments = dict(inner) if isinstance(inner, Mapping) else {bare: inner} if bare else {}
        arguments = {name: each for name, each in arguments.items() if each is not None}
    return {
        "module": f"keras.{module}",
        "class_name": name,
        "config": arguments,
        "registered_name": None,
    }


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
        found = with_objects(super().arguments(name, given))
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
