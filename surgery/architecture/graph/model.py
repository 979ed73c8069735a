"""The parts of a graph: layers, their calls, and references to the tensors that calls return."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

Entry = Mapping[str, Any]
"""A layer as Keras serialises it: class_name, config, module..."""

CallKey = tuple[str, int]
"""A layer's name, and the number of one of its calls."""


class Ref(NamedTuple):
    """Output number `tensor` of call number `call` of a layer."""

    layer: str
    call: int = 0
    tensor: int = 0

    @property
    def key(self) -> CallKey:
        """The call that returns it."""
        return self.layer, self.call

    def __str__(self) -> str:
        more = [f"{name}: {n}" for name, n in zip(("call", "tensor"), self[1:], strict=True) if n]
        return f"{self.layer} ({', '.join(more)})" if more else self.layer


@dataclass(frozen=True)
class Call:
    """The arguments of a layer's call: JSON values in which a Ref stands for a tensor."""

    args: Any = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def refs(self) -> list[Ref]:
        """Return the tensors that the call is given, in the order in which Keras lists them."""
        return [*refs(self.args), *refs(self.kwargs)]


@dataclass(frozen=True)
class Graph:
    """A model as a graph; never changed in place.

    Attributes:
        entry: the model's own entry, which has all that the other attributes do not say.
        layers: each layer's entry by its name, without its calls.
        calls: the arguments of each call; an InputLayer has one, without arguments.
        inputs, outputs: the model's, as Keras nests them: a Ref, or lists and dicts of Refs.
        shapes, dtypes: of tensors, as far as the config says.
    """

    entry: Entry
    layers: Mapping[str, Entry]
    calls: Mapping[CallKey, Call]
    inputs: Any
    outputs: Any
    shapes: Mapping[Ref, tuple[int | None, ...]] = field(default_factory=dict)
    dtypes: Mapping[Ref, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The model's own name."""
        return str(self.entry["config"].get("name") or "")

    def calls_of(self, layer: str) -> list[int]:
        """Return the numbers of a layer's calls."""
        return list(self._numbers.get(layer, ()))

    def readers(self, tensor: Ref) -> list[CallKey]:
        """Return the calls that are given a tensor."""
        return list(self._readers.get(tensor, ()))

    @cached_property
    def _numbers(self) -> Mapping[str, list[int]]:
        found: dict[str, list[int]] = {}
        for name, number in self.calls:
            found.setdefault(name, []).append(number)
        return found

    @cached_property
    def _readers(self) -> Mapping[Ref, list[CallKey]]:
        found: dict[Ref, list[CallKey]] = {}
        for key, call in self.calls.items():
            for ref in dict.fromkeys(call.refs()):
                found.setdefault(ref, []).append(key)
        return found


def mapped(value: Any, change: Callable[[Ref], Any]) -> Any:
    """Return a structure with `change` applied to each Ref in it."""
    if isinstance(value, Ref):
        return change(value)
    if isinstance(value, Mapping):
        return {key: mapped(inner, change) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [mapped(inner, change) for inner in value]
    return value


def refs(value: Any) -> list[Ref]:
    """Return the Refs in a structure as Keras flattens it: a dict's values by sorted keys."""
    if isinstance(value, Ref):
        return [value]
    if isinstance(value, Mapping):
        return [ref for key in sorted(value) for ref in refs(value[key])]
    if isinstance(value, list | tuple):
        return [ref for inner in value for ref in refs(inner)]
    return []
