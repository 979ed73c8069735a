"""Reports on layers: inputs, outputs, parameters and FLOPs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from surgery.architecture.entries import class_of, join
from surgery.architecture.graph import Graph, Ref, parse
from surgery.architecture.graph.nodes import Node, graph_of
from surgery.architecture.shapes import RULE_ERRORS, ModelShapes, Shape, model_shapes
from surgery.errors import SelectorError, printable
from surgery.report.tables import plural, table
from surgery.weights.layer_selectors import SelectLayers
from surgery.weights.model import Model
from surgery.weights.shapes import shapes_of
from surgery.weights.weight import prefixes


def selected_calls(model: Model, selector: Any) -> list[dict[str, Any]]:
    """Return the calls of the layers that a selector names, as plain data; empty for none."""
    try:
        layers = SelectLayers(selector).layers(model, allow_empty=True)
        parents = dict.fromkeys(layer.parent for layer in layers)
        return [fact for parent in parents for fact in _calls(model, parent, layers)]
    except (SelectorError, *RULE_ERRORS):  # it is about weights, or the config is odd
        return []


def _calls(model: Model, parent: str, layers: Iterable[Node]) -> Iterator[dict[str, Any]]:
    """Yield the calls of those layers that are in one of the model's graphs."""
    graph = graph_of(model.need_architecture("it has no layers"), parent)
    shapes = model_shapes(graph)

    def tensor(ref: Ref) -> dict[str, Any]:
        return {"layer": ref.layer, "shape": _as_list(shapes.shapes.get(ref))}

    for layer in layers:
        for number in graph.calls_of(layer.name) if layer.parent == parent else ():
            key = layer.name, number
            outputs = [Ref(*key, n) for n in range(len(shapes.of_call(*key)) or 1)]
            yield {
                "layer": layer.address,
                "type": layer.class_name,
                "call": number,
                "inputs": [tensor(ref) for ref in graph.calls[key].refs()],
                "outputs": [tensor(ref)["shape"] for ref in sorted(outputs)],
                "flops": shapes.flops.get(key),
                "read_by": list(
                    dict.fromkeys(reader for ref in outputs for reader, _ in graph.readers(ref))
                ),
            }


def layer_facts(model: Model) -> list[dict[str, Any]]:
    """Return a row for each layer: what it is, returns, holds and costs, as plain data.

    The layers of a nested model follow it. The output is that of the first call, the FLOPs those
    of all calls for one example; None is unknown.
    """
    architecture = model.need_architecture("its layers are listed")
    shapes = shapes_of(model)
    sizes: Counter[str] = Counter()
    for weight in model.weights:
        for address in prefixes(weight.layer):
            sizes[address] += weight.tensor.size
    found = list(_rows(parse(architecture.config), shapes, "", sizes)) if shapes else []
    rows: dict[str, dict[str, Any]] = {}
    for row in found:  # a layer of a model that is called twice comes twice
        known = rows.setdefault(row["layer"], row)
        if known is not row:
            costs = known["flops"], row["flops"]
            known["flops"] = None if None in costs else sum(costs)
    return list(rows.values())


def _rows(
    graph: Graph, shapes: ModelShapes, parent: str, sizes: Mapping[str, int]
) -> Iterator[dict[str, Any]]:
    """Yield a row for each layer of a graph, then those of a nested model, for each of its calls.

    `parent` is the graph's address, `sizes` the number of parameters by address. The FLOPs are
    those of all calls, or None if those of one are unknown.
    """
    for name, entry in graph.layers.items():
        address = join(parent, name)
        calls = graph.calls_of(name)
        costs = [shapes.flops.get((name, number)) for number in calls]
        yield {
            "layer": address,
            "type": class_of(entry),
            "output": [_as_list(shape) for shape in shapes.of_call(name, calls[0] if calls else 0)],
            "parameters": sizes.get(address, 0),
            "flops": None if None in costs else sum(cost for cost in costs if cost is not None),
        }
        for number in calls:
            if (name, number) in shapes.inner:
                yield from _rows(parse(entry), shapes.inner[name, number], address, sizes)


def layers_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows of `layer_facts` as a table."""
    cells = [
        [
            row["layer"],
            row["type"],
            ", ".join(map(shape_text, row["output"])) or "?",
            f"{row['parameters']:,}",
            "?" if row["flops"] is None else f"{row['flops']:,}",
        ]
        for row in rows
    ]
    header = ["layer", "type", "output", "parameters", "FLOPs"]
    return table(header, cells, right=(3, 4), spare=(1,))


def _as_list(shape: Shape | None) -> list[int | None] | None:
    return None if shape is None else list(shape)


def calls_text(calls: Sequence[Mapping[str, Any]]) -> str:
    """Return calls of layers as lines: what a layer returns and costs, and its neighbours."""
    several = {call["layer"] for call in calls if call["call"]}
    return printable("\n".join(line for call in calls for line in _lines(call, several)), "\n")


def _lines(call: Mapping[str, Any], several: set[str]) -> Iterator[str]:
    number = f", call {call['call']}" if call["layer"] in several else ""
    outputs = ", ".join(map(shape_text, call["outputs"]))
    cost = "unknown FLOPs" if call["flops"] is None else plural(call["flops"], "FLOP")
    yield f"{call['layer']}{number}: {call['type']}, no weights; output {outputs}; {cost}"
    if call["inputs"]:
        given = (f"{each['layer']} {shape_text(each['shape'])}" for each in call["inputs"])
        yield f"  from {', '.join(given)}"
    if call["read_by"]:
        yield f"  to {', '.join(call['read_by'])}"


def shape_text(shape: Sequence[int | None] | None) -> str:
    """Return a tensor's shape as `28x28x32`, without a batch that is open; `?` is unknown."""
    if shape is None:
        return "?"
    sizes = shape[1:] if shape[:1] in ((None,), [None]) else shape
    return "x".join("?" if size is None else str(size) for size in sizes) or "scalar"
