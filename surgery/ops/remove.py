"""`remove`: layers that go, so that what they were given goes on."""

from __future__ import annotations

from dataclasses import dataclass

from surgery.architecture.graph import Graph
from surgery.architecture.graph.editing import without_layer
from surgery.architecture.graph.nodes import Node
from surgery.declared.fields import key
from surgery.ops.base import op
from surgery.ops.structure import StructureOp, by_parent, with_graph
from surgery.weights.layer_selectors import SelectLayers
from surgery.weights.model import Model


@op
@dataclass(frozen=True, kw_only=True)
class Remove(StructureOp):
    """Take layers out: what read their output reads their input."""

    select: SelectLayers = key("The layers.", {"type": "Dropout"})
    keep_input: int | None = key(
        "Of a layer with several inputs (Add), the number of the one that goes on.",
        0,
        default=None,
        minimum=0,
    )
    allow_empty: bool = key(
        "Let the step do nothing where the selector matches nothing.", True, default=False
    )

    @property
    def title(self) -> str:
        return f"{self.name} {self.select}"

    def apply(self, model: Model) -> Model:
        self.architecture(model)
        for parent, nodes in by_parent(self.select.layers(model, self.allow_empty)):

            def without(graph: Graph, nodes: list[Node] = nodes) -> Graph:
                for node in nodes:
                    graph = without_layer(graph, node.name, self.keep_input)
                return graph

            model = with_graph(model, parent, without)
        return model
