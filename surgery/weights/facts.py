"""The facts about weights that a selector's mapping may name, one row each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from surgery.errors import SelectorError, did_you_mean
from surgery.weights.model import Model
from surgery.weights.weight import STATES, Weight, prefixes


@dataclass(frozen=True)
class Asked:
    """The context of matching: the model, and the names that match each pattern."""

    model: Model
    named: Mapping[str, AbstractSet[str]]

    def matches(self, value: Any, weight: Weight) -> bool:
        """Return whether a selector's value matches a weight."""
        if isinstance(value, str):
            return not self.named[value].isdisjoint(prefixes(weight.address))
        if isinstance(value, list):
            return any(self.matches(item, weight) for item in value)
        return all(FACTS[key].holds(wanted, weight, self) for key, wanted in value.items())


@dataclass(frozen=True)
class Fact:
    """A fact: its meaning, an example, and the test of a weight.

    Its value is a `kind` or, if `is_list`, also a list of them; with no kind it is a selector.
    """

    description: str
    example: object
    holds: Callable[[Any, Weight, Asked], bool]
    kind: type | None = None
    is_list: bool = True

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the fact's value."""
        return {"description": self.description, "examples": [self.example], **self._type()}

    def _type(self) -> dict[str, Any]:
        if self.kind is None:
            return {"type": ["string", "array", "object"]}
        name = _JSON[self.kind]
        return (
            {"type": [name, "array"], "items": {"type": name}} if self.is_list else {"type": name}
        )


_JSON: Mapping[type, str] = {str: "string", int: "integer", bool: "boolean"}


def as_list(value: Any) -> Sequence[Any]:
    """Return a list as it is, and any other value as a list of one."""
    return value if isinstance(value, list) else [value]


def _is_type(wanted: Any, weight: Weight, asked: Asked) -> bool:
    if asked.model.architecture is None:
        return False
    layers = asked.model.architecture.by_address
    classes = {layers[p].class_name for p in prefixes(weight.address) if p in layers}
    return bool(classes & set(as_list(wanted)))


def _in_range(wanted: Any, weight: Weight, asked: Asked) -> bool:
    first, _, last = str(wanted).partition("..")
    order = asked.model.layer_order
    for end in (first, last):
        if end not in order:
            raise SelectorError(
                f"layers: {end!r} is not a layer of the model{did_you_mean(end, order)}"
            )
    if order[last] < order[first]:
        raise SelectorError(f"layers: {last!r} comes before {first!r} in the model")
    inside = list(prefixes(weight.address))
    places = [order[p] for p in inside if p in order]
    if not places or places[0] < order[first]:
        return False
    return places[0] <= order[last] or last in inside


FACTS: Mapping[str, Fact] = {
    "path": Fact(
        "A pattern over addresses, or a list of them.", "block1_*/**",
        lambda wanted, weight, asked: asked.matches(wanted, weight),
    ),
    "type": Fact(
        "The Keras class of the layer, or of an enclosing layer.", "Dense", _is_type, str,
    ),
    "variable": Fact(
        "The variable's own name.", "kernel",
        lambda wanted, weight, _: weight.variable in as_list(wanted), str,
    ),
    "trainable": Fact(
        "Whether Keras trains it.", True,
        lambda wanted, weight, _: weight.trainable in as_list(wanted), bool, is_list=False,
    ),
    "dtype": Fact(
        "Its dtype.", "float32",
        lambda wanted, weight, _: weight.tensor.dtype.name in as_list(wanted), str,
    ),
    "rank": Fact(
        "Its number of dimensions.", 2,
        lambda wanted, weight, _: len(weight.tensor.shape) in as_list(wanted), int,
    ),
    "min_size": Fact(
        "The least number of elements.", 1000,
        lambda wanted, weight, _: all(weight.tensor.size >= size for size in as_list(wanted)),
        int, is_list=False,
    ),
    "layers": Fact(
        "A range of layers in layer order, both ends included.", "block1_conv1..block3_pool",
        _in_range, str, is_list=False,
    ),
    "state": Fact(
        "Variables of a checkpoint that are not weights: optimizer (slots, step counters) or "
        "other (metrics, seeds). Only a selector with this fact selects them.", "optimizer",
        lambda wanted, weight, _: weight.state in as_list(wanted), str,
    ),
    "not": Fact(
        "A selector of weights to leave out.", "*/bias",
        lambda wanted, weight, asked: not asked.matches(wanted, weight),
    ),
}  # fmt: skip


def check_fact(name: str, value: Any) -> None:
    """Raise SelectorError if the fact does not accept the value."""
    kind = FACTS[name].kind
    if kind is not None and not all(type(item) is kind for item in as_list(value)):
        raise SelectorError(f"{name}: expected {kind.__name__}, not {value!r}")
    if name == "state" and not set(as_list(value)) <= set(STATES):
        raise SelectorError(f"state: {value!r} is not among {', '.join(STATES)}")
