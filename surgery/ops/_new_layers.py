"""New layers in a model's graph: their names, dtypes, and first weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from surgery.architecture import Architecture, snake_case
from surgery.architecture.entries import join
from surgery.architecture.graph import Graph, Ref
from surgery.architecture.shapes.models import model_shapes
from surgery.declared.layers import NewLayer
from surgery.errors import SelectorError
from surgery.live.layers import BuiltLayer, built_layers
from surgery.weights.initializers import initialized
from surgery.weights.random import Randomness
from surgery.weights.tensor import dtype_named
from surgery.weights.weight import Weight

MODEL = "model"
"""The value of `dtype` that gives new layers the dtype policy of the layers around them."""


def built_on(
    graph: Graph,
    tensor: Ref,
    layers: Sequence[NewLayer],
    dtype: str = MODEL,
    names: Sequence[str] = (),
) -> Sequence[BuiltLayer]:
    """Return new layers as Keras builds them one after another on a tensor of a graph.

    Those that have no name get the one of `names`, else one by their class, that the graph does
    not have. Raises SelectorError where the tensor's shape is not known.
    """
    taken = set(graph.layers)
    specs = []
    for number, layer in enumerate(layers):
        name = layer.config.get("name") or (names[number] if names else "")
        name = str(name or free_name(snake_case(layer.class_name), taken))
        taken.add(name)
        policy = {"dtype": _policy(graph, tensor) if dtype == MODEL else dtype}
        config = {**policy, **layer.config, "name": name}
        specs.append({"class_name": layer.class_name, "config": config})
    return built_layers(specs, shape_of(graph, tensor), graph.dtypes.get(tensor, "float32"))


def free_name(name: str, taken: Iterable[str]) -> str:
    """Return the name, numbered as Keras does where it is taken."""
    number, free = 0, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def shape_of(graph: Graph, tensor: Ref) -> tuple[int | None, ...]:
    """Return a tensor's shape; raises SelectorError where the config does not tell it."""
    shape = model_shapes(graph).shapes.get(tensor) or graph.shapes.get(tensor)
    if shape is None:
        raise SelectorError(f"the shape of what {tensor} returns is not known from the config")
    return shape


def _policy(graph: Graph, tensor: Ref) -> Any:
    """Return the dtype policy of the layer that returns a tensor, else of another layer."""
    entries = [graph.layers[tensor.layer], *graph.layers.values()]
    for entry in entries:
        policy = entry["config"].get("dtype")
        if isinstance(policy, Mapping) and entry["class_name"] != "InputLayer":
            source = policy.get("config", {}).get("source_name")
            return source or policy  # of a quantised layer, the policy that it had before
    return "float32"


def new_weights(
    config: Mapping[str, Any], layers: Mapping[str, BuiltLayer], draws: Randomness
) -> Iterator[Weight]:
    """Yield the weights of new layers, by their addresses, drawn from their own initialisers.

    `config` is that of the model that has them. What is drawn depends on the recipe's seed, the
    step and the address.
    """
    architecture = Architecture(config)
    for address, built in layers.items():
        layer = architecture.by_address[address]
        variables = list(layer.weights())
        if len(variables) != len(built.variables):
            raise SelectorError(
                f"{address} is a {layer.class_name}, whose variables surgery does not know by name"
            )
        for (_, own), facts in zip(variables, built.variables, strict=True):
            class_name, arguments = facts["initializer"]
            tensor = initialized(
                class_name,
                arguments,
                tuple(facts["shape"]),
                dtype_named(facts["dtype"]),
                draws.seed,
                draws.step,
                own.address,
            )
            yield Weight(own.address, tensor, (), own.trainable)


def addressed(parent: str, layers: Iterable[BuiltLayer]) -> dict[str, BuiltLayer]:
    """Return layers by the addresses that they have in a model at an address."""
    return {join(parent, str(each.entry["config"]["name"])): each for each in layers}
