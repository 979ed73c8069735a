"""The object graph that TensorFlow saves for a Keras model in a checkpoint."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from surgery.errors import SurgeryError
from surgery.live.quiet import import_keras
from surgery.live.symbolic import symbolic_model
from surgery.storage.cache import Cached, by_config

_FORMAT = 2
_FAILED: dict[Cached, str] = {}
"""The error messages of configs that Keras could not build in this process."""


@dataclass(frozen=True)
class TrackedNode:
    """A node of the object graph: its children, and for a weight its key, name and index.

    `children` are (name, number of the node). `place` is the weight's index in Keras's
    `model.weights`, which has `weights` entries.
    """

    children: list[tuple[str, int]]
    key: str = ""
    name: str = ""
    place: int | None = None
    weights: int = 0


def object_graph(config: Mapping[str, Any]) -> list[TrackedNode]:
    """Return the graph of `tf.train.Checkpoint(model=model)`, from the cache or from Keras.

    Raises SurgeryError if Keras cannot build the model.
    """
    kept = by_config("objects", _FORMAT, config)
    if kept in _FAILED:
        raise SurgeryError(_FAILED[kept])
    if (found := kept.read()) is not None:
        return [TrackedNode(**node) for node in found]
    try:
        nodes = _from_keras(config)
    except SurgeryError as error:
        _FAILED[kept] = str(error)
        raise
    kept.write([vars(node) for node in nodes])
    return nodes


def is_cached(config: Mapping[str, Any]) -> bool:
    """Return whether the graph is in the cache, so that TensorFlow is not needed."""
    return by_config("objects", _FORMAT, config).read() is not None


def _from_keras(config: Mapping[str, Any]) -> list[TrackedNode]:
    import_keras()
    with symbolic_model(config) as model:
        return graph_of(model, model.weights)


def graph_of(model: Any, variables: Sequence[Any]) -> list[TrackedNode]:
    """Return the object graph of a model whose weights are the given variables."""
    import tensorflow as tf

    places = {id(variable): place for place, variable in enumerate(variables)}
    found, paths, children = tracked(tf.train.Checkpoint(model=model))
    return [
        _node(item, inner, path, places)
        for item, inner, path in zip(found, children, paths, strict=True)
    ]


def tracked(
    root: Any,
) -> tuple[list[Any], list[tuple[str, ...]], list[list[tuple[str, int]]]]:
    """Return all objects that TensorFlow tracks from `root`, breadth first.

    They come as (objects, path of each, (name, number) of the children of each).
    """
    import tensorflow as tf

    numbers: dict[int, int] = {}
    found: list[Any] = []
    paths: list[tuple[str, ...]] = []
    children: list[list[tuple[str, int]]] = []
    queue: deque[int] = deque()

    def number(item: Any, path: tuple[str, ...]) -> int:
        if id(item) not in numbers:
            numbers[id(item)] = len(found)
            queue.append(len(found))
            found.append(item)
            paths.append(path)
            children.append([])
        return numbers[id(item)]

    number(root, ())
    while queue:
        current = queue.popleft()
        for name, child in tf.train.TrackableView.children(found[current]).items():
            children[current].append((name, number(child, (*paths[current], name))))
    return found, paths, children


def _node(
    item: Any, children: list[tuple[str, int]], path: tuple[str, ...], places: Mapping[int, int]
) -> TrackedNode:
    if id(item) in places:
        escaped = (name.replace(".", "..").replace("/", ".S") for name in path)
        key = "/".join([*escaped, ".ATTRIBUTES", "VARIABLE_VALUE"])
        name = getattr(item, "path", item.name.removesuffix(":0"))
        return TrackedNode(children, key, name, places[id(item)], len(places))
    if hasattr(item, "assign") and hasattr(item, "path"):
        raise SurgeryError(f"{item.path} is a variable of the model, but not one of its weights")
    return TrackedNode(children)
