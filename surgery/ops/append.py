"""`append`: new layers behind an output of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from surgery.architecture.graph import Graph, Ref, mapped, parse, refs
from surgery.architecture.graph.editing import with_layer
from surgery.declared.fields import key
from surgery.declared.layers import NewLayer
from surgery.errors import SelectorError, did_you_mean
from surgery.live.layers import BuiltLayer
from surgery.ops._new_layers import MODEL, addressed, built_on, new_weights
from surgery.ops.base import op
from surgery.ops.structure import StructureOp, with_graph
from surgery.weights.model import Model


@op
@dataclass(frozen=True, kw_only=True)
class Append(StructureOp):
    """Put new layers behind an output of the model; the last one's is the output then."""

    layers: tuple[NewLayer, ...] = key(
        "The layers in order: classes of Keras with their arguments.",
        [{"Activation": {"activation": "softmax"}}],
    )
    to: str | None = key(
        "The output, by the layer that returns it or by its name; needed where there are several.",
        "predictions",
        default=None,
    )
    dtype: str = key(
        "Their dtype policy; model is that of the layers around them.", "float32", default=MODEL
    )

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("layers is empty")

    @property
    def title(self) -> str:
        return f"{self.name} {', '.join(layer.class_name for layer in self.layers)}"

    def apply(self, model: Model) -> Model:
        graph = parse(self.architecture(model).config)
        old = self._output(graph)
        built = built_on(graph, old, self.layers, self.dtype)
        new = [str(each.entry["config"]["name"]) for each in built]
        is_named = isinstance(graph.outputs, dict)
        return with_graph(
            model,
            "",
            lambda graph: appended(graph, old, built),
            new=lambda config: new_weights(config, addressed("", built), self.draws),
            outputs={} if is_named else {old.layer: new[-1]},
        )

    def _output(self, graph: Graph) -> Ref:
        """Return the output that the step is about."""
        outputs = refs(graph.outputs)
        named: dict[str, Any] = dict(graph.outputs) if isinstance(graph.outputs, dict) else {}
        found = [named[self.to]] if self.to in named else []
        found = found or [ref for ref in outputs if self.to in (None, ref.layer)]
        if len(found) != 1:
            there = [*named, *(ref.layer for ref in outputs if not named)]
            hint = did_you_mean(self.to, there) if self.to else ""
            raise SelectorError(f"say which output: to is one of {', '.join(there)}{hint}")
        found_ref: Ref = found[0]
        return found_ref


def appended(graph: Graph, tensor: Ref, built: Sequence[BuiltLayer]) -> Graph:
    """Return a graph with built layers behind an output, whose place the last one's takes."""
    grown, last = chained(graph, tensor, built)
    outputs = mapped(grown.outputs, lambda ref: last if ref == tensor else ref)
    return replace(grown, outputs=outputs)


def chained(graph: Graph, tensor: Ref, built: Sequence[BuiltLayer]) -> tuple[Graph, Ref]:
    """Return a graph with built layers one after another behind a tensor, and the last output."""
    last = tensor
    shapes, dtypes = dict(graph.shapes), dict(graph.dtypes)
    for each in built:
        name = str(each.entry["config"]["name"])
        graph = with_layer(graph, name, each.entry, {0: [last]})
        last = Ref(name)
        shapes[last], dtypes[last] = each.shape, each.dtype
    return replace(graph, shapes=shapes, dtypes=dtypes), last
