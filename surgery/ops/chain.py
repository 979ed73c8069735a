"""`chain`: models one after another in one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from surgery.architecture.graph import Graph, mapped, parse, refs
from surgery.declared.fields import key
from surgery.errors import SelectorError
from surgery.ops._combined import FUNCTIONAL, called, combined, nested
from surgery.ops.base import op
from surgery.ops.structure import StructureOp
from surgery.weights.model import Model
from surgery.weights.sources import Donor


@op
@dataclass(frozen=True, kw_only=True)
class Chain(StructureOp):
    """Feed this model's output to the next one, and so on: one model that calls them in order."""

    with_: Mapping[str, Donor] = key(
        "The models that follow, by the names that they have in it: files, or mappings as in load.",
        {"b": "other.keras"},
    )
    as_: str | None = key(
        "This model's name in it; its own by default.", "a", default=None, in_example=True
    )
    name_: str = key("The new model's name.", "pipeline", default="chained", minLength=1)

    def __post_init__(self) -> None:
        if not self.with_:
            raise ValueError("with names no model")

    @property
    def title(self) -> str:
        return f"{self.name} {', '.join(self.with_)}"

    def donors(self) -> tuple[Donor, ...]:
        return tuple(self.with_.values())

    def apply(self, model: Model) -> Model:
        self.architecture(model)
        first = self.as_ or model.name
        if first in self.with_:
            raise SelectorError(f"this model and another one would be called {first}; give as")
        parts = {first: model, **{name: donor.model for name, donor in self.with_.items()}}
        entries = nested(parts)
        inner = parse(entries[first])
        inputs = [ref.layer for ref in refs(inner.inputs)]
        if taken := [name for name in inputs if name in entries]:
            raise SelectorError(f"an input and a model would be called {taken[0]}")
        config = {**FUNCTIONAL["config"], "name": self.name_}
        graph = Graph(
            {**FUNCTIONAL, "config": config},
            {name: inner.layers[name] for name in inputs},
            {(name, 0): inner.calls[name, 0] for name in inputs},
            inner.inputs,
            [],
            {ref: inner.shapes[ref] for ref in refs(inner.inputs) if ref in inner.shapes},
            {ref: inner.dtypes[ref] for ref in refs(inner.inputs) if ref in inner.dtypes},
        )
        made: Any = inner.inputs
        before = ""
        for name, entry in entries.items():
            graph, made = called(graph, name, entry, _fed(graph, before, name, entry, made))
            before = name
        return combined(parts, replace(graph, outputs=made))


def _fed(graph: Graph, before: str, name: str, entry: Any, made: Any) -> Any:
    """Return what a model is called on: what the one before it returned, in its own structure."""
    inner = parse(entry)
    wanted, given = refs(inner.inputs), refs(made)
    if len(wanted) != len(given):
        raise SelectorError(
            f"{name} has {len(wanted)} inputs, and {before} gives {len(given)} outputs"
        )
    for to, ref in zip(wanted, given, strict=True):
        taken, found = inner.shapes.get(to), graph.shapes.get(ref)
        if taken is None or found is None:
            continue
        fits = len(taken) == len(found) and all(
            None in (a, b) or a == b for a, b in zip(taken[1:], found[1:], strict=True)
        )
        if not fits:
            raise SelectorError(
                f"{name} takes {list(taken[1:])} and {before or 'the input'} gives "
                f"{list(found[1:])}"
            )
    return mapped(inner.inputs, dict(zip(wanted, given, strict=True)).__getitem__)
