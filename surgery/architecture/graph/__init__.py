"""A functional or Sequential model's config as a graph of layers and their calls, without Keras."""

from surgery.architecture.graph.inlining import flattened, inlined
from surgery.architecture.graph.model import Call, Graph, Ref, mapped, refs
from surgery.architecture.graph.order import keras_order, topological
from surgery.architecture.graph.reading import is_graph, parse
from surgery.architecture.graph.writing import entry_of

__all__ = [
    "Call",
    "Graph",
    "Ref",
    "entry_of",
    "flattened",
    "inlined",
    "is_graph",
    "keras_order",
    "mapped",
    "parse",
    "refs",
    "topological",
]
