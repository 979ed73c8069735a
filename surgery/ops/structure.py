"""The base classes of ops that change a model's layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surgery.architecture import Architecture, Layer
from surgery.architecture.entries import class_of, is_of_keras
from surgery.architecture.graph import Graph, Ref, flattened, is_graph, parse, refs, topological
from surgery.architecture.graph.nodes import Node, edited, graph_of, models, nodes
from surgery.architecture.shapes.models import model_shapes
from surgery.architecture.shapes.registry import OPERATIONS, Shape
from surgery.declared.fields import key
from surgery.declared.verification import VERIFY, Verification
from surgery.errors import FormatError, SelectorError, SurgeryError, nearest
from surgery.ops.base import Op
from surgery.ops.live import Runner, need_live
from surgery.weights.model import Model
from surgery.weights.restructuring import restructured
from surgery.weights.weight import Weight

Shapes = Mapping[Ref, Shape | None]


@dataclass(frozen=True, kw_only=True)
class StructureOp(Op):
    """An operation on the graph of a model's layers, in the config of Keras 3."""

    changes_weights = False
    changes_table = True
    needs_keras3 = True

    def architecture(self, model: Model) -> Architecture:
        """Return the model's architecture.

        Raises SelectorError where it has no graph, and FormatError where a graph is damaged.
        """
        architecture = model.need_architecture(f"{self.name} acts on layers")
        check_graphs(model)
        if not is_graph(architecture.config):
            name = architecture.config.get("class_name")
            raise SelectorError(
                f"{model.origin} is a {name}, whose config does not say how its layers are called; "
                f"{self.name} needs a functional or Sequential model: write the change in code, "
                "and load it with build"
            )
        return architecture

    def flattened(
        self, architecture: Architecture, addresses: Iterable[str], names: str = "{outer}_{inner}"
    ) -> tuple[Graph, Mapping[str, str]]:
        """Return the graph with the layers of inner models in their places, and their new names.

        Raises SelectorError where a model cannot be taken apart.
        """
        try:
            return flattened(
                parse(architecture.config),
                addresses,
                lambda outer, inner: names.format(outer=outer, inner=inner),
            )
        except ValueError as error:
            raise SelectorError(f"{self.name}: {error}") from None


def check_graphs(model: Model) -> None:
    """Raise FormatError where a graph in the model's config is not as Keras writes it."""
    try:
        model.need_architecture("the step acts on layers").once(_check_graphs)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the config of {model.origin} is damaged: {error}") from None


def _check_graphs(architecture: Architecture) -> None:
    for parent, _, _ in models(architecture):
        topological(graph_of(architecture, parent))


@dataclass(frozen=True, kw_only=True)
class VerifiedOp(StructureOp):
    """A structural operation after which the model gives what it gave before."""

    verify: Verification | bool = key(VERIFY, False, default=True)

    @property
    def needs_live(self) -> bool:
        return self.verify is not False

    def inputs(self) -> tuple[Path, ...]:
        data = self.verify.data if isinstance(self.verify, Verification) else None
        return data.inputs() if data is not None else ()

    def architecture(self, model: Model) -> Architecture:
        architecture = super().architecture(model)
        self._check_live(model)
        return architecture

    def compared_layers(self) -> Sequence[str]:
        """Return the layers whose outputs before the step are compared; none: its outputs."""
        return ()

    def _check_live(self, model: Model) -> None:
        """Raise SurgeryError where the models before and after cannot be run."""
        if self.needs_live:
            try:
                need_live(model, self.name)
                self.compared_layers()
                custom = [x.address for x in _custom(model) if model.carried.code is None]
                if custom:
                    raise SurgeryError(f"{custom[0]} is of a custom class, whose code is not given")
            except SurgeryError as error:
                raise SurgeryError(f"{error}; verify: false leaves the comparison out") from None

    def verified(self, before: Model, after: Model, runner: Runner) -> Mapping[str, Any]:
        """Run both models on the same inputs; raises SurgeryError where their outputs differ.

        Returns what is compared and the largest relative difference.
        """
        how = self.verify if isinstance(self.verify, Verification) else Verification()
        found = runner.call(
            "equivalence",
            after,
            other=before,
            data=how.data and how.data.without_labels(),
            examples=how.examples,
            seed_=self.draws.seed,
            layers=list(self.compared_layers()),
        )
        if not found["difference"] <= how.tolerance:
            raise SurgeryError(
                f"the outputs after the step differ by {found['difference']:.2g} of the largest "
                f"({found['output']}), and verify allows {how.tolerance:g}; nothing is written"
            )
        return {"verified": {**found, "tolerance": how.tolerance}}


def _custom(model: Model) -> Iterator[Layer]:
    architecture = model.need_architecture("it is run")
    return (layer for layer in architecture.root.walk() if layer.variables is None)


def with_graph(
    model: Model,
    parent: str,
    change: Callable[[Graph], Graph],
    names: Mapping[str, str] | None = None,
    new: Callable[[Mapping[str, Any]], Iterable[Weight]] = lambda _: (),
    outputs: Mapping[str, str] | None = None,
) -> Model:
    """Return the model with one of its graphs changed; raises SelectorError where it cannot be.

    `parent` is the address of the graph's model, `new` makes weights for the new config; the rest
    is as in `restructured`.
    """
    architecture = model.need_architecture("the step changes layers")
    try:
        config = edited(architecture, parent, change)
    except ValueError as error:
        raise SelectorError(str(error)) from None
    return restructured(model, config, names, new(config), outputs)


@dataclass(frozen=True)
class Output:
    """A tensor that a layer returns: the layer's address, the call and the tensor's number.

    The numbers are None where the layer is called once, or returns one tensor.
    """

    layer: str
    call: int | None = None
    tensor: int | None = None

    @classmethod
    def from_recipe(cls, value: object, _folder: Path) -> Output:
        """Read an address, or a mapping of layer, call and tensor."""
        if isinstance(value, str):
            return cls(value)
        if not isinstance(value, Mapping):
            raise TypeError
        if not isinstance(value.get("layer"), str) or set(value) - {"layer", "call", "tensor"}:
            raise ValueError("give an address, or a mapping {layer: a, call: 0, tensor: 0}")
        return cls(value["layer"], value.get("call"), value.get("tensor"))

    @classmethod
    def schema(cls) -> Mapping[str, object]:
        """Return its JSON Schema."""
        return {
            "type": ["string", "object"],
            "minLength": 1,
            "properties": {
                "layer": {
                    "description": "The layer's address.",
                    "examples": ["block4_pool"],
                    "type": "string",
                    "minLength": 1,
                },
                "call": _number("The number of its call."),
                "tensor": _number("The number of the tensor among those that the call returns."),
            },
            "additionalProperties": False,
        }

    def __str__(self) -> str:
        more = [f"{k}: {v}" for k, v in vars(self).items() if k != "layer" and v is not None]
        return f"{{layer: {self.layer}, {', '.join(more)}}}" if more else self.layer

    def ref(self, graph: Graph, layer: str) -> Ref:
        """Return the tensor in a graph in which the layer has that name.

        Raises SelectorError where the layer returns several tensors, and none is named.
        """
        calls = graph.calls_of(layer)
        if not calls:
            raise SelectorError(
                f"{self.layer} is an input of a nested model, or nothing depends on it; name the "
                "layer whose output it is given"
            )
        shapes = model_shapes(graph).shapes
        call = self._number("call", self.call, calls, graph, shapes, layer)
        tensors = _tensors(graph, shapes, Ref(layer, call))
        return Ref(layer, call, self._number("tensor", self.tensor, tensors, graph, shapes, layer))

    def _number(
        self,
        what: str,
        number: int | None,
        there: Sequence[int],
        graph: Graph,
        shapes: Shapes,
        layer: str,
    ) -> int:
        if number is None and len(there) == 1:
            return there[0]
        class_name = class_of(graph.layers[layer])
        is_known = is_of_keras(class_name) or class_name in OPERATIONS.shapes
        is_open = what == "tensor" and not is_known
        if number is not None and (number in there or is_open):
            return number
        said = f"has no {what} {number}" if number is not None else f"has several {what}s"
        raise SelectorError(
            f"{self.layer} {said}: {'; '.join(_told(graph, shapes, layer))}; "
            f"write {{layer: {self.layer}, {what}: {there[0]}}}"
        )


def _number(description: str) -> dict[str, object]:
    return {"description": description, "examples": [0], "type": "integer", "minimum": 0}


def _tensors(graph: Graph, shapes: Shapes, ref: Ref) -> Sequence[int]:
    """Return the numbers of the tensors that a call returns, as far as they are known."""
    found = {r.tensor for r in shapes if r.key == ref.key}
    found |= {r.tensor for call in graph.calls.values() for r in call.refs() if r.key == ref.key}
    return range(max(found, default=0) + 1)


def _told(graph: Graph, shapes: Shapes, layer: str) -> Iterable[str]:
    for number in graph.calls_of(layer):
        for tensor in _tensors(graph, shapes, Ref(layer, number)):
            ref = Ref(layer, number, tensor)
            shape = shapes.get(ref)
            size = "x".join("?" if n is None else str(n) for n in shape[1:]) if shape else "?"
            readers = ", ".join(dict.fromkeys(name for name, _ in graph.readers(ref)))
            is_output = ref in refs(graph.outputs)
            read = f"read by {readers}" if readers else "an output" if is_output else "unread"
            yield f"call {number}, tensor {tensor}: {size}, {read}"


def by_parent(nodes: Iterable[Node]) -> Iterator[tuple[str, list[Node]]]:
    """Yield layers by the model that calls them, models inside others first."""
    found: dict[str, list[Node]] = {}
    for node in nodes:
        found.setdefault(node.parent, []).append(node)
    depths = {parent: parent.count("/") + bool(parent) for parent in found}
    for parent in sorted(found, key=lambda parent: -depths[parent]):
        yield parent, found[parent]


def find_layer(architecture: Architecture, address: str) -> tuple[str, str]:
    """Return the model that calls a layer and the layer's name there.

    Raises SelectorError, with the nearest addresses, where no graph has it.
    """
    known: list[str] = []
    for node in nodes(architecture):
        if node.address == address:
            return node.parent, node.name
        known.append(node.address)
    close = ", ".join(nearest(address, known, 3)) or ", ".join(known[:3])
    raise SelectorError(f"{address} is no layer of the model; the nearest are {close}")
