"""`set_config`: other values in the configs of layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from surgery.architecture.entries import is_of_keras
from surgery.architecture.graph import Graph, Ref
from surgery.architecture.graph.nodes import Node, graph_of
from surgery.architecture.variables import is_harmless
from surgery.declared.compiling import signatures
from surgery.declared.fields import key
from surgery.declared.layers import with_objects
from surgery.errors import SelectorError, SurgeryError, did_you_mean
from surgery.live.layers import built_layers
from surgery.ops._new_layers import shape_of
from surgery.ops.base import op
from surgery.ops.structure import StructureOp, by_parent, with_graph
from surgery.weights.layer_selectors import SelectLayers
from surgery.weights.model import Model


@op
@dataclass(frozen=True, kw_only=True)
class SetConfig(StructureOp):
    """Set keys in the configs of the selected layers, none that changes their variables."""

    select: SelectLayers = key("The layers.", {"type": "Conv2D"})
    keys: Mapping[str, Any] = key(
        "Arguments of the layer's class in Keras, with their new values. Regularizers, "
        "constraints and initializers are written as {l2: 0.0001} or by name.",
        {"activation": "swish", "kernel_regularizer": {"l2": 0.0001}},
    )

    def __post_init__(self) -> None:
        if not self.keys:
            raise ValueError("keys is empty")
        if "name" in self.keys:
            raise ValueError("rename gives layers other names")
        if "trainable" in self.keys:
            raise ValueError("freeze and unfreeze set trainable")
        with_objects(self.keys)

    @property
    def title(self) -> str:
        return f"{self.name} {self.select}: {', '.join(self.keys)}"

    def apply(self, model: Model) -> Model:
        self.architecture(model)
        nodes = self.select.layers(model)
        for node in nodes:
            self._check(model, node)
        for parent, inside in by_parent(nodes):

            def change(graph: Graph, nodes: list[Node] = inside) -> Graph:
                new = {node.name: self._changed(graph.layers[node.name]) for node in nodes}
                return replace(graph, layers={**graph.layers, **new})

            model = with_graph(model, parent, change)
        return model

    def _changed(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        return {**entry, "config": {**entry["config"], **with_objects(self.keys)}}

    def _check(self, model: Model, node: Node) -> None:
        """Raise SurgeryError for a key that the class lacks, or that changes its variables."""
        row = signatures()["layers"].get(node.class_name)
        known = {*(row["takes"] if row else ()), *node.entry["config"]}
        for name in self.keys:
            if name not in known:
                hint = did_you_mean(name, known)
                raise SurgeryError(
                    f"{node.address} is a {node.class_name}, which has no argument {name!r}{hint}"
                )
        graph = graph_of(model.need_architecture("set_config acts on layers"), node.parent)
        if all(is_harmless(name) for name in self.keys) and not _is_built(graph, node):
            return
        before, after = (
            _variables(graph, node, entry) for entry in (node.entry, self._changed(node.entry))
        )
        if before != after:
            changed = [name for name in self.keys if not is_harmless(name)]
            raise SurgeryError(
                f"{', '.join(changed)}: {node.address} would have the variables {_told(after)} in "
                f"place of {_told(before)}; replace puts a new layer there"
            )


def _is_built(graph: Graph, node: Node) -> bool:
    """Return whether Keras can build a layer as it is, so that it can be asked about its keys."""
    if not is_of_keras(node.class_name):
        return False
    try:
        _variables(graph, node, node.entry)
    except SurgeryError:
        return False
    return True


Variables = Mapping[str, tuple[int, ...]]


def _variables(graph: Graph, node: Node, entry: Mapping[str, Any]) -> Variables:
    """Return the shapes of a layer's variables, as Keras builds it where it is called first."""
    calls = graph.calls_of(node.name)
    given = graph.calls[node.name, calls[0]].refs() if calls else []
    if len(given) != 1:
        raise SelectorError(
            f"{node.address} has {len(given)} inputs; of such a layer only keys that never change "
            "variables can be set, such as activation or a regularizer"
        )
    tensor: Ref = given[0]
    whole = {key: value for key, value in entry.items() if key not in ("build_config", "name")}
    (built,) = built_layers([whole], shape_of(graph, tensor), graph.dtypes.get(tensor, "float32"))
    return {facts["name"]: tuple(facts["shape"]) for facts in built.variables}


def _told(variables: Variables) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in variables.items()) or "none"
