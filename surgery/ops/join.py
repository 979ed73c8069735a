"""`join`: several models beside one another in one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from surgery.architecture.graph import Graph, Ref, mapped, parse, refs
from surgery.architecture.graph.editing import renamed, with_layer
from surgery.architecture.graph.model import Call
from surgery.declared.fields import key
from surgery.errors import SelectorError
from surgery.ops._combined import FUNCTIONAL, called, combined, nested
from surgery.ops.base import op
from surgery.ops.structure import StructureOp
from surgery.weights.model import Model
from surgery.weights.sources import Donor

_MERGES = {"average": "Average", "concatenate": "Concatenate", "add": "Add"}


@op
@dataclass(frozen=True, kw_only=True)
class Join(StructureOp):
    """Put other models beside this one: one model that calls each of them."""

    models: Mapping[str, Donor] = key(
        "The other models by the names that they have in it: files, or mappings as in load.",
        {"b": "other.keras"},
    )
    as_: str | None = key(
        "This model's name in it; its own by default.", "a", default=None, in_example=True
    )
    inputs_: Literal["shared", "apart"] = key(
        "Whether all get the same inputs, or each has its own.", "apart", default="shared"
    )
    outputs_: Literal["list", "average", "concatenate", "add"] = key(
        "All outputs in a list, or one that is made of them.", "average", default="list"
    )
    name_: str = key("The new model's name.", "ensemble", default="joined", minLength=1)

    def __post_init__(self) -> None:
        if not self.models:
            raise ValueError("models names no model")

    @property
    def title(self) -> str:
        return f"{self.name} {', '.join(self.models)}"

    def donors(self) -> tuple[Donor, ...]:
        return tuple(self.models.values())

    def apply(self, model: Model) -> Model:
        self.architecture(model)
        first = self.as_ or model.name
        if first in self.models:
            raise SelectorError(f"this model and another one would be called {first}; give as")
        parts = {first: model, **{name: donor.model for name, donor in self.models.items()}}
        entries = nested(parts)
        graph = self._inputs(entries)
        outputs: list[Any] = []
        for name, entry in entries.items():
            given = self._given(graph, name, entry, first)
            graph, made = called(graph, name, entry, given)
            outputs.append(made)
        graph = self._with_outputs(graph, outputs, list(entries))
        return combined(parts, graph)

    def _inputs(self, entries: Mapping[str, Any]) -> Graph:
        """Return a graph that has nothing but the new model's inputs."""
        config = {**FUNCTIONAL["config"], "name": self.name_}
        graph = Graph({**FUNCTIONAL, "config": config}, {}, {}, [], [])
        parsed = {name: parse(entry) for name, entry in entries.items()}
        if self.inputs_ == "shared":
            first = next(iter(parsed.values()))
            _check_alike(parsed)
            chosen = {ref: (first, ref) for ref in refs(first.inputs)}
            structure = first.inputs
        else:
            chosen = {
                Ref(f"{name}_{ref.layer}"): (inner, ref)
                for name, inner in parsed.items()
                for ref in refs(inner.inputs)
            }
            structure = list(chosen)
        for new, (inner, ref) in chosen.items():
            if new.layer in entries or new.layer in graph.layers:
                raise SelectorError(f"an input and a model would be called {new.layer}")
            graph = with_layer(graph, new.layer, renamed(inner.layers[ref.layer], new.layer), {})
            graph = replace(
                graph,
                calls={**graph.calls, new.key: Call()},
                shapes={**graph.shapes, new: inner.shapes.get(ref, ())},
                dtypes={**graph.dtypes, new: inner.dtypes.get(ref, "float32")},
            )
        return replace(graph, inputs=structure)

    def _given(self, graph: Graph, name: str, entry: Any, first: str) -> Any:
        """Return what a model is called on."""
        inner = parse(entry).inputs
        if self.inputs_ == "apart":
            return mapped(inner, lambda ref: Ref(f"{name}_{ref.layer}"))
        there = dict(zip(refs(inner), refs(graph.inputs), strict=True))
        return mapped(inner, lambda ref: there[ref])

    def _with_outputs(self, graph: Graph, outputs: list[Any], names: list[str]) -> Graph:
        flat = [ref for made in outputs for ref in refs(made)]
        if self.outputs_ == "list":
            return replace(graph, outputs=flat)
        for name, made in zip(names, outputs, strict=True):
            if len(refs(made)) != 1:
                raise SelectorError(
                    f"{name} has {len(refs(made))} outputs; outputs: {self.outputs_} takes models "
                    "with one"
                )
        class_name = _MERGES[self.outputs_]
        shapes = [graph.shapes.get(ref) for ref in flat]
        sizes = {
            shape[1:-1] if self.outputs_ == "concatenate" else shape[1:]
            for shape in shapes
            if shape
        }
        if len(sizes) > 1:
            told = ", ".join(
                f"{name} {list((shape or (0,))[1:])}"
                for name, shape in zip(names, shapes, strict=True)
            )
            raise SelectorError(
                f"outputs: {self.outputs_} takes equal shapes, and there are {told}"
            )
        config: dict[str, Any] = {"name": self.outputs_, "trainable": True}
        if self.outputs_ == "concatenate":
            config["axis"] = -1
        if self.outputs_ in graph.layers:
            raise SelectorError(f"{self.outputs_} is the name of the layer that merges the outputs")
        entry = {
            "module": "keras.layers",
            "class_name": class_name,
            "config": config,
            "registered_name": None,
        }
        grown = with_layer(graph, self.outputs_, entry, {0: [flat]})
        return replace(grown, outputs=Ref(self.outputs_))


def _check_alike(graphs: Mapping[str, Graph]) -> None:
    """Raise SelectorError where models do not take the same inputs."""
    (first, one), *others = graphs.items()
    for name, other in others:
        if list(_facts(one)) != list(_facts(other)):
            raise SelectorError(
                f"{first} takes {_told(one)}, and {name} takes {_told(other)}; inputs: apart gives "
                "each its own"
            )


def _facts(graph: Graph) -> Iterator[tuple[tuple[int | None, ...], str]]:
    for ref in refs(graph.inputs):
        yield graph.shapes.get(ref, ()), graph.dtypes.get(ref, "float32")


def _told(graph: Graph) -> str:
    return " and ".join(
        f"{'x'.join('?' if size is None else str(size) for size in shape[1:])} of {dtype}"
        for shape, dtype in _facts(graph)
    )
