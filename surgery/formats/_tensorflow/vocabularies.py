"""Vocabularies of Keras 2's lookup layers, which SavedModels store outside of the config.

The config of the whole model has null instead. The vocabulary is in the layer's own metadata, or
it initialises the layer's table, from constants of the graph or from a file among the assets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from surgery.formats._configs import LOOKUPS
from surgery.formats._tensorflow.fields import (
    AssetFile,
    KerasObject,
    MapEntry,
    MetaGraph,
    ObjectGraph,
    ObjectReference,
    SavedAsset,
    SavedConcreteFunction,
    SavedConstant,
    SavedFunction,
    SavedObject,
    SavedUserObject,
)
from surgery.formats._tensorflow.proto import Buffer, Message
from surgery.formats._tensorflow.saved_constants import named_lists
from surgery.formats._tensorflow.saved_files import KERAS

_INNER = ("_lookup_layer", "_index_lookup_layer")
_TABLES = ("lookup_table", "_table")

Names = tuple[str, ...]


def with_vocabularies(
    config: Mapping[str, Any], folder: Path, graph: Mapping[int, Sequence[Buffer]]
) -> Mapping[str, Any]:
    """Return a Keras 2 model's config with its lookup layers' vocabularies, None if not found.

    Raises ValueError if the SavedModel is damaged.
    """
    if not any(_lookups(config, ())):
        return config
    objects = _Objects(folder, graph)
    layers = dict(_layers(objects, 0, ()))
    found = {}
    for names, layer in _lookups(config, ()):
        inverts = bool(layer["config"].get("invert"))
        words = objects.vocabulary(layers[names], inverts) if names in layers else None
        is_whole = layer["class_name"] == "IntegerLookup"
        found[names] = [int(word) for word in words] if words and is_whole else words
    return dict(_filled(config, (), found))


def _lookups(entry: Mapping[str, Any], outer: Names) -> Iterator[tuple[Names, Mapping[str, Any]]]:
    """Yield (names of enclosing layers and its own, config) of each lookup layer."""
    for layer in _inner_layers(entry):
        names = (*outer, str(layer["config"].get("name")))
        if layer.get("class_name") in LOOKUPS:
            yield names, layer
        yield from _lookups(layer, names)


def _inner_layers(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    config = entry.get("config")
    layers = config.get("layers") if isinstance(config, Mapping) else None
    return [
        layer
        for layer in (layers if isinstance(layers, list) else [])
        if isinstance(layer, Mapping) and isinstance(layer.get("config"), Mapping)
    ]


def _filled(entry: Any, outer: Names, found: Mapping[Names, list[Any] | None]) -> Any:
    """Return a config with the vocabularies inserted."""
    inner = [id(layer) for layer in _inner_layers(entry)]
    if not inner:
        return entry
    layers = []
    for layer in entry["config"]["layers"]:
        if id(layer) not in inner:
            layers.append(layer)
            continue
        names = (*outer, str(layer["config"].get("name")))
        config = layer["config"]
        if names in found:
            config = {**config, "vocabulary": found[names]}
            if layers:  # left by adapt, and refused by Keras 3; a first layer needs it
                config.pop("batch_input_shape", None)
        layers.append(_filled({**layer, "config": config}, names, found))
    return {**entry, "config": {**entry["config"], "layers": layers}}


def _layers(objects: _Objects, number: int, outer: Names) -> Iterator[tuple[Names, int]]:
    """Yield (names, node number) of the layers below an object."""
    for name, child in objects.children(number).items():
        if re.fullmatch(r"layer-\d+", name) and len(outer) < _DEEPEST:
            names = (*outer, str(objects.metadata(child).get("name")))
            yield names, child
            yield from _layers(objects, child, names)


_DEEPEST = 50


class _Objects:
    """The objects of a SavedModel, by node number."""

    def __init__(self, folder: Path, graph: Mapping[int, Sequence[Buffer]]) -> None:
        self._folder = folder
        self._graph = graph
        objects = [Message(field) for field in graph.get(MetaGraph.OBJECT_GRAPH, [])]
        self._nodes = [node for each in objects for node in each.messages(ObjectGraph.NODES)]
        self._functions = {
            entry.text(MapEntry.KEY): entry.message(MapEntry.VALUE)
            for each in objects
            for entry in each.messages(ObjectGraph.CONCRETE_FUNCTIONS)
        }

    def children(self, number: int) -> dict[str, int]:
        """Return {name: node number} of an object's children; raises ValueError."""
        if number >= len(self._nodes):
            raise ValueError("its object graph refers to a missing object")
        children = self._nodes[number].messages(SavedObject.CHILDREN)
        return {
            child.text(ObjectReference.LOCAL_NAME): child.integer(ObjectReference.NODE_ID)
            for child in children
        }

    @cached_property
    def _metadata(self) -> dict[int, str]:
        file = self._folder / KERAS
        if not file.is_file():
            users = (node.message(SavedObject.USER_OBJECT) for node in self._nodes)
            return {n: user.text(SavedUserObject.METADATA) for n, user in enumerate(users)}
        nodes = Message(file.read_bytes()).messages(ObjectGraph.NODES)
        return {n.integer(KerasObject.NODE_ID): n.text(KerasObject.METADATA) for n in nodes}

    def metadata(self, number: int) -> Mapping[str, Any]:
        """Return Keras's metadata of an object; empty if it has none."""
        found = json.loads(self._metadata.get(number) or "{}")
        return found if isinstance(found, Mapping) else {}

    def vocabulary(self, number: int, inverts: bool) -> list[Any] | None:
        """Return the vocabulary of the lookup layer at node `number`; None if it is not found.

        `inverts` is for a layer that looks up texts by index, whose table has them as values.
        """
        config = self.metadata(number).get("config")
        own = config.get("vocabulary") if isinstance(config, Mapping) else None
        if isinstance(own, list):
            return own
        children = self.children(number)
        inner = next((children[name] for name in _INNER if name in children), None)
        if inner is not None:
            return self.vocabulary(inner, inverts)
        table = next((children[name] for name in _TABLES if name in children), None)
        given = [] if table is None else self._filled_with(table)
        constants = [
            node.message(SavedObject.CONSTANT).text(SavedConstant.OPERATION)
            for node in given
            if SavedObject.CONSTANT in node
        ]
        assets = [
            node.message(SavedObject.ASSET).integer(SavedAsset.ASSET_FILE_DEF_INDEX)
            for node in given
            if SavedObject.ASSET in node
        ]
        if len(assets) == 1:
            return self._lines(assets[0])
        if len(constants) != 2:
            return None
        keys, values = constants
        return self._in_order(keys, values) if inverts else self._in_order(values, keys)

    def _filled_with(self, table: int) -> list[Message]:
        """Return the objects from which a table is initialised."""
        children = self.children(table)
        if "_initialize" not in children:
            return []
        function = self._nodes[children["_initialize"]].message(SavedObject.FUNCTION)
        numbers = [
            bound
            for name in function.strings(SavedFunction.CONCRETE_FUNCTIONS)
            for bound in self._functions[name.decode()].integers(SavedConcreteFunction.BOUND_INPUTS)
        ]
        return [self._nodes[number] for number in numbers if number < len(self._nodes)]

    def _in_order(self, places: str, words: str) -> list[Any] | None:
        """Return the words in one constant, sorted by the indices in another."""
        found = named_lists(self._folder, {places, words})
        if len(found) < 2 or len(found[places]) != len(found[words]):
            return None
        return [word for _, word in sorted(zip(found[places], found[words], strict=True))]

    def _lines(self, number: int) -> list[Any] | None:
        """Return the lines of an asset file; None if it is missing."""
        definitions = self._graph.get(MetaGraph.ASSET_FILES, [])
        if number >= len(definitions):
            return None
        name = Message(definitions[number]).text(AssetFile.FILENAME)
        file = self._folder / "assets" / name
        if "/" in name or file.is_symlink() or not file.is_file():
            return None
        lines = file.read_text(encoding="utf-8").split("\n")
        return [line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]
