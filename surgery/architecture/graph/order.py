"""The order of a graph's calls and layers."""

from __future__ import annotations

from collections.abc import Iterator

from surgery.architecture.graph.model import CallKey, Graph, refs


def topological(graph: Graph) -> list[CallKey]:
    """Return the calls that the outputs depend on, each after those that it depends on.

    Of the orders that there are, it is that of Keras's depth-first search.
    """
    return _search(graph)[0]


def keras_order(graph: Graph) -> list[str]:
    """Return the layers in the order in which Keras lists them after loading the graph.

    They are sorted by depth (the longest way to an output), then by when a depth-first search
    from the outputs meets them. Keras numbers the groups of a weights file by this order, so that
    a config in another one is loaded with other layers' weights.
    """
    calls, met = _search(graph)
    needs = {key: graph.calls[key].refs() for key in calls}
    depths: dict[CallKey, int] = {}
    layers: dict[str, int] = {}
    for key in reversed(calls):
        depth = max(depths.get(key, 0), layers.get(key[0], 0))
        depths[key] = layers[key[0]] = depth
        for ref in needs[key]:
            depths[ref.key] = max(depth + 1, depths.get(ref.key, 0))
    for ref in refs(graph.inputs):
        if ref.layer not in layers:  # an input that no output depends on
            layers[ref.layer], met[ref.layer] = 0, -1
    return sorted(layers, key=lambda name: (-layers[name], met[name]))


def _search(graph: Graph) -> tuple[list[CallKey], dict[str, int]]:
    """Return the calls as a depth-first search leaves them, and layers numbered as it meets them.

    Raises ValueError for a graph with a cycle.
    """
    done: dict[CallKey, None] = {}
    met: dict[str, int] = {}
    for output in refs(graph.outputs):
        way: dict[CallKey, Iterator[CallKey]] = {}
        following: CallKey | None = output.key
        while following is not None or way:
            if following is not None and following not in done:
                if following in way:
                    raise ValueError(f"{following[0]} depends on its own output")
                met.setdefault(following[0], len(met))
                way[following] = (ref.key for ref in graph.calls[following].refs())
            following = None
            if way:
                key, left = next(reversed(way.items()))
                following = next(left, None)
                if following is None:
                    done[key] = None
                    del way[key]
    return list(done), met
