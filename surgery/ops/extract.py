"""`extract`: the part of a model that some of its tensors depend on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from surgery.architecture.graph import Graph, Ref, refs, topological
from surgery.architecture.graph.writing import entry_of
from surgery.declared.fields import key
from surgery.declared.verification import VERIFY, Verification
from surgery.errors import SurgeryError
from surgery.ops.base import op
from surgery.ops.structure import Output, VerifiedOp, find_layer
from surgery.weights.model import Model
from surgery.weights.restructuring import restructured


@dataclass(frozen=True)
class Outputs:
    """One output, a list of them, or a mapping of names to them."""

    value: Any

    @classmethod
    def from_recipe(cls, value: object, folder: Path) -> Outputs:
        """Read an address or {layer, call, tensor}, or a list or mapping of such."""
        if isinstance(value, list):
            if not value:
                raise ValueError("an empty list names no output")
            return cls([Output.from_recipe(item, folder) for item in value])
        if isinstance(value, Mapping) and "layer" not in value:
            if not value:
                raise ValueError("an empty mapping names no output")
            return cls({str(k): Output.from_recipe(v, folder) for k, v in value.items()})
        return cls(Output.from_recipe(value, folder))

    @classmethod
    def schema(cls) -> Mapping[str, object]:
        """Return its JSON Schema; what is inside is checked when it is built."""
        return {"type": ["string", "array", "object"], "minLength": 1}

    def __str__(self) -> str:
        if isinstance(self.value, dict):
            return ", ".join(f"{name}: {output}" for name, output in self.value.items())
        return ", ".join(map(str, self.all()))

    def all(self) -> list[Output]:
        """Return the outputs in order."""
        if isinstance(self.value, dict):
            return list(self.value.values())
        return self.value if isinstance(self.value, list) else [self.value]


@op
@dataclass(frozen=True, kw_only=True)
class Extract(VerifiedOp):
    """Cut a model at inner layers, whose outputs become its outputs."""

    at: Outputs = key(
        "The address of a layer, a list, or a mapping of new output names to addresses. Where a "
        "layer is called more than once or returns several tensors: {layer: a, call: 1, tensor: "
        "0}. A layer inside a nested model is cut out of it: the models that it is in are put in "
        "their places, as flatten does.",
        "block4_pool",
    )
    inputs_: Literal["keep", "used"] = key(
        "Whether inputs stay on which none of these outputs depends.", "used", default="keep"
    )

    verify: Verification | bool = key(VERIFY, True, default=False)

    @property
    def title(self) -> str:
        return f"{self.name} {self.at}"

    @property
    def selector_key(self) -> str:
        return "at"

    def apply(self, model: Model) -> Model:
        architecture = self.architecture(model)
        places = [find_layer(architecture, output.layer) for output in self.at.all()]
        graph, names = self.flattened(architecture, (parent for parent, _ in places if parent))
        found = [
            output.ref(graph, names.get(output.layer, output.layer)) for output in self.at.all()
        ]
        outputs: Any = found
        if isinstance(self.at.value, dict):
            outputs = dict(zip(self.at.value, found, strict=True))
        elif not isinstance(self.at.value, list):
            outputs = found[0]
        graph = replace(graph, outputs=outputs)
        if self.inputs_ == "used":
            graph = replace(graph, inputs=_used(graph))
        return restructured(model, entry_of(graph), names)

    def compared_layers(self) -> Sequence[str]:
        """Return the layers that are cut at, in the order in which Keras flattens the outputs.

        Raises SurgeryError where one has several outputs.
        """
        for each in self.at.all():
            if each.call is not None or each.tensor is not None:
                raise SurgeryError(
                    f"{each} is one of several outputs, and verify compares the only one of a layer"
                )
        named = self.at.value
        found = [named[key] for key in sorted(named)] if isinstance(named, dict) else self.at.all()
        return [each.layer for each in found]


def _used(graph: Graph) -> Any:
    """Return the inputs that the outputs depend on."""
    reached = {name for name, _ in topological(graph)}
    if isinstance(graph.inputs, Ref):
        return graph.inputs
    kept = {ref for ref in refs(graph.inputs) if ref.layer in reached}
    if isinstance(graph.inputs, Mapping):
        return {name: ref for name, ref in graph.inputs.items() if ref in kept}
    return [ref for ref in graph.inputs if ref in kept]
