"""`flatten`: nested models become layers of the model that they are in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from surgery.architecture.graph.reading import is_graph
from surgery.architecture.graph.writing import entry_of
from surgery.declared.fields import key
from surgery.errors import SelectorError
from surgery.ops.base import op
from surgery.ops.structure import StructureOp
from surgery.weights.layer_selectors import SelectLayers
from surgery.weights.model import Model
from surgery.weights.restructuring import restructured


@op
@dataclass(frozen=True, kw_only=True)
class Flatten(StructureOp):
    """Put the layers of nested models in their places: one graph, the same outputs."""

    select: SelectLayers = key("The nested models, and what they are inside of.", "encoder")
    names: str = key(
        "The layers' new names: {outer} is the nested model's name, {inner} the layer's own.",
        "{outer}_{inner}",
        default="{outer}_{inner}",
    )

    def __post_init__(self) -> None:
        left = self.names.replace("{outer}", "").replace("{inner}", "")
        if "{inner}" not in self.names or set("{}/") & set(left):
            raise ValueError("names has {inner} in it, {outer} if you like, and no other / { }")

    @property
    def title(self) -> str:
        return f"{self.name} {self.select}"

    def apply(self, model: Model) -> Model:
        return self._flattened(model)[0]

    def renames(self, model: Model) -> Mapping[str, str]:
        return self._flattened(model)[1]

    def _flattened(self, model: Model) -> tuple[Model, Mapping[str, str]]:
        return model.once(self._made)

    def _made(self, model: Model) -> tuple[Model, Mapping[str, str]]:
        architecture = self.architecture(model)
        chosen = [node.address for node in self.select.layers(model) if is_graph(node.entry)]
        if not chosen:
            raise SelectorError(f"{self.select} names no nested model; there are {_all(model)}")
        graph, names = self.flattened(architecture, chosen, self.names)
        return restructured(model, entry_of(graph), names), names


def _all(model: Model) -> str:
    return ", ".join(_models(model)) or "none"


def _models(model: Model) -> Iterator[str]:
    for node in SelectLayers("**").layers(model):
        if is_graph(node.entry):
            yield node.address
