"""`replace`: another layer in the place of each selected one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from dataclasses import replace as changed
from typing import Any, Literal

from surgery.architecture.graph import Graph
from surgery.architecture.graph.editing import renamed
from surgery.architecture.graph.nodes import Node, graph_of
from surgery.declared.fields import key
from surgery.declared.layers import NewLayer
from surgery.errors import SelectorError
from surgery.live.layers import BuiltLayer
from surgery.ops._new_layers import MODEL, built_on, new_weights
from surgery.ops.base import op
from surgery.ops.structure import StructureOp, with_graph
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
        self.architecture(model)
        for node in self.select.layers(model):
            model = self._replaced(model, node)
        return model

    def _replaced(self, model: Model, node: Node) -> Model:
        graph = graph_of(model.need_architecture("replace acts on layers"), node.parent)
        calls = [graph.calls[node.name, number] for number in graph.calls_of(node.name)]
        given = [ref for call in calls for ref in call.refs()]
        if not calls or len(given) != len(calls):
            raise SelectorError(f"{node.address} has {len(given)} inputs, and replace takes one")
        (built,) = built_on(graph, given[0], [self.layer], self.dtype, names=[f"{node.name}_new"])
        entry = renamed(built.entry, node.name, node.entry["config"].get("trainable") is False)

        def change(graph: Graph) -> Graph:
            return changed(graph, layers={**graph.layers, node.name: entry})

        return with_graph(
            model, node.parent, change,
            new=lambda config: self._weights(model, config, node.address, built),
        )  # fmt: skip

    def _weights(
        self, model: Model, config: Mapping[str, Any], address: str, built: BuiltLayer
    ) -> Iterator[Weight]:
        """Yield the weights that the new layer does not have from the old one."""
        for weight in new_weights(config, {address: built}, self.draws):
            old = model.by_address.get(weight.address)
            fits = old is not None and old.tensor.shape == weight.tensor.shape
            if self.weights == "new" or not fits:
                yield weight
