"""Selectors of layers, those without weights included."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surgery.architecture.graph.nodes import Node, nodes
from surgery.errors import SelectorError, did_you_mean, nearest
from surgery.weights.facts import FACTS, as_list
from surgery.weights.model import Model
from surgery.weights.selectors import check_selector, named, patterns_of, selector_text

_FACTS = ("path", "type", "trainable", "layers", "not")
"""The facts that layers have; the others are about weights."""


@dataclass(frozen=True)
class SelectLayers:
    """A parsed selector of layers: a pattern over addresses, a list, or a mapping of facts."""

    value: Any

    def __post_init__(self) -> None:
        check_selector(self.value)
        if isinstance(self.value, Mapping):
            for fact in set(self.value) - set(_FACTS):
                raise SelectorError(f"{fact} is about weights; layers take {', '.join(_FACTS)}")

    @classmethod
    def from_recipe(cls, value: object, _folder: Path) -> SelectLayers:
        """Return the selector that a recipe has; raises SelectorError for a wrong one."""
        return cls(value)

    @classmethod
    def schema(cls) -> Mapping[str, object]:
        """Return its JSON Schema."""
        return {
            "type": ["string", "array", "object"],
            "items": {"type": ["string", "object", "array"]},
            "properties": {name: FACTS[name].schema() for name in _FACTS},
            "additionalProperties": False,
            "minLength": 1,
        }

    def __str__(self) -> str:
        return selector_text(self.value)

    def layers(self, model: Model, allow_empty: bool = False) -> tuple[Node, ...]:
        """The layers that it names; raises SelectorError, with the nearest ones, for none."""
        return model.once(self._found) if allow_empty else model.once(self._needed)

    def _needed(self, model: Model) -> tuple[Node, ...]:
        found = self.layers(model, allow_empty=True)
        if not found:
            there = list(nodes(model.need_architecture("it has no layers")))
            known = [node.address for node in there]
            close = [n for pattern in patterns_of(self.value) for n in nearest(pattern, known, 3)]
            hint = f"the nearest are {', '.join(dict.fromkeys(close) or known[:3])}"
            if isinstance(self.value, Mapping) and "type" in self.value:
                hint = f"its types are {', '.join(dict.fromkeys(n.class_name for n in there))}"
            raise SelectorError(f"{self} is no layer of the model; {hint}")
        return found

    def _found(self, model: Model) -> tuple[Node, ...]:
        all_nodes = tuple(nodes(model.need_architecture("the step acts on layers")))
        order = {node.address: place for place, node in enumerate(all_nodes)}
        asked = named(patterns_of(self.value, ("path", "not")), order)
        return tuple(node for node in all_nodes if _matches(self.value, node, asked, order))


def _matches(
    value: Any, node: Node, asked: Mapping[str, AbstractSet[str]], order: Mapping[str, int]
) -> bool:
    if isinstance(value, str):
        return node.address in asked[value]
    if isinstance(value, list):
        return any(_matches(item, node, asked, order) for item in value)
    return all(_holds(fact, wanted, node, asked, order) for fact, wanted in value.items())


def _holds(
    fact: str,
    wanted: Any,
    node: Node,
    asked: Mapping[str, AbstractSet[str]],
    order: Mapping[str, int],
) -> bool:
    if fact in ("path", "not"):
        return _matches(wanted, node, asked, order) is (fact == "path")
    if fact == "type":
        return node.class_name in as_list(wanted)
    if fact == "trainable":
        return bool(node.entry["config"].get("trainable", True)) is wanted
    first, _, last = str(wanted).partition("..")
    for end in (first, last):
        if end not in order:
            raise SelectorError(f"layers: {end!r} is not a layer{did_you_mean(end, order)}")
    return order[first] <= order[node.address] <= order[last]
