"""`insert`: a new layer between two others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from surgery.architecture.entries import join
from surgery.architecture.graph import Graph, Ref, refs
from surgery.architecture.graph.editing import inserted, inserted_before
from surgery.architecture.graph.nodes import graph_of
from surgery.declared.fields import key
from surgery.declared.layers import NewLayer
from surgery.errors import SelectorError, SurgeryError
from surgery.ops._new_layers import MODEL, addressed, built_on, new_weights
from surgery.ops.base import op
from surgery.ops.structure import StructureOp, find_layer, with_graph
from surgery.weights.model import Model


@op
@dataclass(frozen=True, kw_only=True)
class Insert(StructureOp):
    """Put a new layer behind a layer, or before one."""

    after: str | None = key(
        "The address of the layer whose output it gets; all that read that read the new layer's.",
        "block_5_add",
        default=None,
        in_example=True,
    )
    before: str | None = key(
        "Instead of after: the address of the layer that gets its output.", "fc1", default=None
    )
    call: Literal["all", 0] = key(
        "Of a layer that is called more than once: behind every call, or behind the first.",
        0,
        default="all",
    )
    layer: NewLayer = key("The layer: a class of Keras with its arguments.", {"ReLU": {}})
    dtype: str = key(
        "Its dtype policy; model is that of the layers around it.", "float32", default=MODEL
    )

    def __post_init__(self) -> None:
        if (self.after is None) == (self.before is None):
            raise ValueError("give after or before, one of them")

    @property
    def title(self) -> str:
        place = f"after {self.after}" if self.after else f"before {self.before}"
        return f"{self.name} {self.layer.class_name} {place}"

    @property
    def selector_key(self) -> str:
        return "after" if self.after else "before"

    def apply(self, model: Model) -> Model:
        architecture = self.architecture(model)
        parent, name = find_layer(architecture, self.after or self.before or "")
        graph = graph_of(architecture, parent)
        calls = graph.calls_of(name)
        numbers = calls if self.call == "all" else calls[:1]
        if self.before is not None:
            tensors = [ref for number in numbers for ref in graph.calls[name, number].refs()]
        else:
            tensors = _outputs(graph, name, numbers)
        if not tensors:
            raise SelectorError(f"{self.before} is an input of the model; say after instead")
        built = built_on(graph, tensors[0], [self.layer], self.dtype)
        new = str(built[0].entry["config"]["name"])
        if new in graph.layers:
            raise SurgeryError(f"there is a layer called {new} already; give another name")

        def change(graph: Graph) -> Graph:
            if self.before is not None:
                grown = inserted_before(graph, new, built[0].entry, name, numbers)
            else:
                grown = inserted(graph, new, built[0].entry, tensors)
            made = Ref(new)  # of other calls the shapes may be others
            return replace(
                grown,
                shapes={**grown.shapes, made: built[0].shape},
                dtypes={**grown.dtypes, made: built[0].dtype},
            )

        layers = addressed(parent, built)
        is_output = not {*tensors}.isdisjoint(refs(graph.outputs))
        made = with_graph(
            model, parent, change, new=lambda config: new_weights(config, layers, self.draws),
            outputs={name: new} if self.after and not parent and is_output else {},
        )  # fmt: skip
        return made.with_note(f"{join(parent, new)} is a new {self.layer.class_name}")


def _outputs(graph: Graph, layer: str, numbers: Sequence[int]) -> list[Ref]:
    """Return what a layer's calls return; raises SelectorError where that is not one tensor each.

    Raises SelectorError too where nothing reads it.
    """
    read = {ref for call in graph.calls.values() for ref in call.refs()} | {*refs(graph.outputs)}
    if any(ref.tensor for ref in read if ref.layer == layer):
        raise SelectorError(f"{layer} returns several tensors; say before which layer instead")
    tensors = [ref for number in numbers if (ref := Ref(layer, number)) in read]
    if not tensors:
        raise SelectorError(f"no layer and no output reads what {layer} returns")
    return tensors
