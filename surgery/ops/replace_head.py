"""`replace_head`: what follows a layer gives way to a new classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from surgery.architecture.graph import Graph, Ref, entry_of, mapped, refs
from surgery.declared.fields import Share, key
from surgery.declared.layers import NewLayer
from surgery.errors import SelectorError, SurgeryError
from surgery.ops._new_layers import MODEL, addressed, built_on, new_weights, shape_of
from surgery.ops.append import chained
from surgery.ops.base import op
from surgery.ops.structure import Output, StructureOp, find_layer
from surgery.weights.model import Model
from surgery.weights.restructuring import restructured

_POOLS = {"average": "GlobalAveragePooling{}D", "max": "GlobalMaxPooling{}D", "flatten": "Flatten"}


@op
@dataclass(frozen=True, kw_only=True)
class ReplaceHead(StructureOp):
    """Cut behind a layer, and put new layers that end in a Dense there."""

    after: Output = key(
        "The address of the last layer that stays, or {layer: a, call: 0, tensor: 0}.", "out_relu"
    )
    pool: Literal["average", "max", "flatten", "none"] = key(
        "What becomes of the axes between the batch's and the last: their average or maximum, all "
        "in one, or nothing. Without it, average where there are such axes.",
        "max",
        default=None,
    )
    layers: tuple[NewLayer, ...] = key(
        "Layers before the last: classes of Keras with their arguments.",
        [{"Dense": {"units": 64, "activation": "relu"}}],
        default=(),
    )
    dropout: Share | None = key("The rate of a Dropout before the last.", 0.2, default=None)
    classes: int = key("The units of the last layer, a Dense.", 5, minimum=1)
    activation: str | None = key(
        "The last layer's activation; null for logits.", "sigmoid", default="softmax"
    )
    name_: str = key(
        "The last layer's name, with which the others' begin.", "top", default="head", minLength=1
    )
    dtype: str = key(
        "The new layers' dtype policy; model is that of the layers before them.",
        "float32",
        default=MODEL,
    )
    outputs_: Literal["keep", "drop"] = key(
        "Whether outputs that do not depend on the cut stay beside the new one.",
        "drop",
        default="keep",
    )
    compile: Literal["keep", "drop"] = key(
        "Whether optimizer, loss and metrics stay.", "drop", default="keep"
    )

    @property
    def title(self) -> str:
        return f"{self.name} after {self.after}: {self.classes} classes"

    @property
    def selector_key(self) -> str:
        return "after"

    def apply(self, model: Model) -> Model:
        architecture = self.architecture(model)
        parent, _ = find_layer(architecture, self.after.layer)
        graph, names = self.flattened(architecture, [parent] if parent else [])
        cut = self.after.ref(graph, names.get(self.after.layer, self.after.layer))
        layers, called = self._layers(len(shape_of(graph, cut)))
        built = built_on(graph, cut, layers, self.dtype, called)
        if taken := [each for each in called if each in graph.layers]:
            raise SurgeryError(f"there is a layer called {taken[0]} already; give another name")
        try:
            grown, last = chained(graph, cut, built)
        except ValueError as error:
            raise SelectorError(str(error)) from None
        outputs, instead = self._outputs(grown, cut, last)
        config = entry_of(replace(grown, outputs=outputs))
        new = new_weights(config, addressed("", built), self.draws)
        made = restructured(model, config, names, new, instead)
        return made.without_optimizer() if self.compile == "drop" else made

    def _layers(self, rank: int) -> tuple[list[NewLayer], list[str]]:
        """Return the new layers, and the names of those that have none of their own."""
        pool = self.pool or ("average" if rank > 2 else "none")
        found: list[tuple[str, Mapping[str, Any], str]] = []
        if pool != "none" and not (pool != "flatten" and rank == 2):
            found.append((_POOLS[pool].format(rank - 2), {}, f"{self.name_}_pool"))
        found += [
            (each.class_name, each.config, f"{self.name_}_{number}")
            for number, each in enumerate(self.layers, 1)
        ]
        if self.dropout is not None:
            rate = {"rate": float(self.dropout.fraction)}
            found.append(("Dropout", rate, f"{self.name_}_dropout"))
        last = {"units": self.classes, "activation": self.activation or "linear"}
        found.append(("Dense", last, self.name_))
        layers = [NewLayer({"class_name": name, "config": dict(conf)}) for name, conf, _ in found]
        return layers, [
            str(layer.config.get("name") or name)
            for layer, (_, _, name) in zip(layers, found, strict=True)
        ]

    def _outputs(self, graph: Graph, cut: Ref, last: Ref) -> tuple[Any, Mapping[str, str]]:
        """Return the outputs with the new one, and which it stands for."""
        below = _depending(graph, cut)
        gone = [ref for ref in refs(graph.outputs) if ref == cut or ref.key in below]
        kept = [ref for ref in refs(graph.outputs) if ref not in gone]
        if not gone:
            raise SelectorError(f"no output depends on {self.after}; append puts layers behind one")
        if self.outputs_ == "drop" or not kept:
            old = graph.outputs
            if isinstance(old, dict):
                name = next(name for name, ref in old.items() if ref in gone)
                return {name: last}, {}
            return last, {gone[0].layer: last.layer}
        if len(gone) > 1:
            names = ", ".join(map(str, gone))
            raise SelectorError(f"{names} all depend on {self.after}; say outputs: drop")
        outputs = mapped(graph.outputs, lambda ref: last if ref == gone[0] else ref)
        is_named = isinstance(graph.outputs, dict)
        return outputs, {} if is_named else {gone[0].layer: last.layer}


def _depending(graph: Graph, tensor: Ref) -> set[tuple[str, int]]:
    """Return the calls that depend on a tensor."""
    found: set[tuple[str, int]] = set()
    todo = graph.readers(tensor)
    readers: dict[tuple[str, int], list[tuple[str, int]]] = {}
    for key_, call in graph.calls.items():
        for ref in call.refs():
            readers.setdefault(ref.key, []).append(key_)
    while todo:
        call_key = todo.pop()
        if call_key not in found:
            found.add(call_key)
            todo += readers.get(call_key, [])
    return found
