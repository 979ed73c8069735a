"""The inputs of each call of a graph, and the readers of each tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from surgery.architecture.entries import class_of
from surgery.architecture.graph import Graph, Ref, refs
from surgery.architecture.graph.model import CallKey


class UnfitError(Exception):
    """Why a layer and its neighbours cannot be changed together."""


class Neighbours:
    """The layers around a layer in a graph.

    `outputs` are the tensors that the model returns.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.outputs = set(refs(graph.outputs))

    def calls(self, layer: str) -> Sequence[CallKey]:
        """Return a layer's calls."""
        return [(layer, number) for number in self.graph.calls_of(layer)]

    def class_of(self, layer: str) -> str:
        """Return a layer's class."""
        return class_of(self.graph.layers[layer])

    def config(self, layer: str) -> Mapping[str, Any]:
        """Return a layer's config."""
        config: Mapping[str, Any] = self.graph.layers[layer]["config"]
        return config

    def given(self, key: CallKey) -> Ref:
        """Return the one tensor that a call is given; raises UnfitError for one with more."""
        call = self.graph.calls[key]
        told = [name for name, value in call.kwargs.items() if value not in (None, False)]
        if told:
            raise UnfitError(f"{key[0]} is called with {told[0]}")
        if len(call.args) != 1 or not isinstance(call.args[0], Ref):
            raise UnfitError(f"{key[0]} ({self.class_of(key[0])}) has more than one input")
        return call.args[0]

    def readers(self, tensor: Ref) -> Sequence[CallKey]:
        """Return the calls that are given a tensor."""
        return self.graph.readers(tensor)
