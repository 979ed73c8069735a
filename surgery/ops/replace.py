"""`replace`: another layer in the place of each selected one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as changed
from typing import Any, Literal

from surgery.architecture.graph import Call, Graph, Ref, refs
from surgery.architecture.graph.editing import renamed
from surgery.architecture.graph.nodes import Node, graph_of
from surgery.declared.fields import key
from surgery.declared.layers import NewLayer
from surgery.errors import SelectorError
from surgery.live.layers import BuiltLayer
from surgery.ops._new_layers import MODEL, built_on, new_weights
from surgery.ops.base import op
from surgery.ops.structure import StructureOp, by_parent, with_graph
from surgery.weights.layer_selectors import SelectLayers
from surgery.weights.model import Model
from surgery.weights.weight import Weight


@op
@dataclass(frozen=True, kw_only=True)
class Replace(StructureOp):
    """Put a new layer in the place of each selected one, under its name."""

    select: SelectLayers = key("The layers that go; each has one input.", {"type": "ReLU"})
    layer: NewLayer = key(
        "The layer that comes: a class of Keras with its arguments.",
        {"Activation": {"activation": "swish"}},
    )
    weights: Literal["keep", "new"] = key(
        "Whether variables of the same name and shape keep their values.", "new", default="keep"
    )
    dtype: str = key(
        "Its dtype policy; model is that of the layer that goes.", "float32", default=MODEL
    )

    def __post_init__(self) -> None:
        if "name" in self.layer.config:
            raise ValueError("a layer that replaces others has their names; leave name out")

    @property
    def title(self) -> str:
        return f"{self.name} {self.select} by {self.layer.class_name}"

    def apply(self, model: Model) -> Model:
        architecture = self.architecture(model)
        for parent, nodes in by_parent(self.select.layers(model)):
            graph = graph_of(architecture, parent)
            built = {node.name: self._built(graph, node) for node in nodes}
            model = self._replaced(model, parent, nodes, built)
        return model

    def _built(self, graph: Graph, node: Node) -> BuiltLayer:
        calls = [graph.calls[node.name, number] for number in graph.calls_of(node.name)]
        given = [ref for call in calls for ref in call.refs()]
        if not calls or len(given) != len(calls):
            raise SelectorError(f"{node.address} has {len(given)} inputs, and replace takes one")
        read = [
            *refs(graph.outputs),
            *(ref for call in graph.calls.values() for ref in call.refs()),
        ]
        if any(ref.layer == node.name and ref.tensor for ref in read):
            raise SelectorError(f"{node.address} returns several tensors, and a new layer one")
        (built,) = built_on(graph, given[0], [self.layer], self.dtype, names=[f"{node.name}_new"])
        return built

    def _replaced(
        self, model: Model, parent: str, nodes: Sequence[Node], built: Mapping[str, BuiltLayer]
    ) -> Model:
        entries = {
            node.name: renamed(
                built[node.name].entry, node.name, node.entry["config"].get("trainable") is False
            )
            for node in nodes
        }

        def change(graph: Graph) -> Graph:
            calls = {  # the other arguments are those of the layer that goes
                key: Call([call.refs()[0]]) if key[0] in entries else call
                for key, call in graph.calls.items()
            }
            first = {Ref(name): each for name, each in built.items()}
            return changed(
                graph,
                layers={**graph.layers, **entries},
                calls=calls,
                shapes={**graph.shapes, **{ref: each.shape for ref, each in first.items()}},
                dtypes={**graph.dtypes, **{ref: each.dtype for ref, each in first.items()}},
            )

        def new(config: Mapping[str, Any]) -> Iterator[Weight]:
            layers = {node.address: built[node.name] for node in nodes}
            for weight in new_weights(config, layers, self.draws):
                old = model.by_address.get(weight.address)
                fits = old is not None and old.tensor.shape == weight.tensor.shape
                if self.weights == "new" or not fits:
                    yield weight

        return with_graph(model, parent, change, new=new)
