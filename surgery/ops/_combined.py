"""One model of several, each nested under a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from surgery.architecture.entries import join
from surgery.architecture.graph import Call, Graph, Ref, entry_of, is_graph, mapped, parse
from surgery.architecture.graph.model import Entry
from surgery.architecture.shapes import leaves
from surgery.architecture.shapes.models import model_shapes
from surgery.architecture.sharing import told_apart
from surgery.errors import SelectorError
from surgery.ops.structure import check_graphs
from surgery.weights.model import Model
from surgery.weights.restructuring import moved_state, restructured

FUNCTIONAL: Entry = {
    "module": "keras.src.models.functional",
    "class_name": "Functional",
    "registered_name": "Functional",
    "config": {"trainable": True},
}


def nested(models: Mapping[str, Model]) -> dict[str, Entry]:
    """Return the configs of models as layers of one model, each under its key.

    Raises SelectorError for a key that is no name of a layer, and for a model of which Keras 3
    does not know inputs and outputs.
    """
    for key, model in models.items():
        config = model.need_architecture("models are put together by their layers").config
        if "/" in key or not key:
            raise SelectorError(f"{key!r} is no name for a layer")
        if not model.carried.is_keras3:
            raise SelectorError(
                f"{model.origin} is of Keras {model.carried.keras_version}; convert it first: "
                "surgery convert OLD NEW.keras"
            )
        model.once(check_graphs)
        if not is_graph(config):
            raise SelectorError(
                f"{model.origin} is a {config.get('class_name')}, whose inputs and outputs the "
                "config does not tell; models that are put together are functional or Sequential"
            )
    configs = told_apart(dict(_config(model)) for model in models.values())
    return {
        key: {**config, "name": key, "config": {**config["config"], "name": key}}
        for key, config in zip(models, configs, strict=True)
    }


def _config(model: Model) -> Entry:
    config = model.need_architecture("it is put into another").config
    return {k: v for k, v in config.items() if k not in ("compile_config", "build_config")}


def called(graph: Graph, key: str, entry: Entry, given: Any) -> tuple[Graph, Any]:
    """Return a graph in which a model is called on a structure of tensors, and its outputs."""
    inner = parse(entry)
    outputs: list[Ref] = []

    def output(_: Ref) -> Ref:
        outputs.append(Ref(key, 0, len(outputs)))
        return outputs[-1]

    grown = replace(
        graph,
        layers={**graph.layers, key: entry},
        calls={**graph.calls, (key, 0): Call([given])},
    )
    structure = mapped(_sorted(inner.outputs), output)
    known = zip(outputs, leaves(model_shapes(inner).outputs), strict=True)
    shapes = {ref: shape for ref, shape in known if shape is not None}
    return replace(grown, shapes={**graph.shapes, **shapes}), structure


def _sorted(value: Any) -> Any:
    """Return a structure whose mappings are in the order in which Keras flattens them."""
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if type(value) is list else value


def combined(models: Mapping[str, Model], graph: Graph) -> Model:
    """Return one model of several that are layers of a graph; it is not compiled.

    The first model is what the result is made from; the others' weights and state are added.
    """
    config = entry_of(graph)
    first, *others = models
    added = [
        replace(weight, address=join(key, weight.address), stored=(), slots=())
        for key in others
        for weight in models[key].weights
    ]
    bare = {key: model.without_optimizer() for key, model in models.items()}
    made = restructured(bare[first], config, _names(first, bare[first]), added)
    state, assets = dict(made.carried.state), dict(made.carried.assets)
    assert made.architecture is not None
    for key in others:
        own_state, own_assets = moved_state(bare[key], made.architecture, _names(key, bare[key]))
        state |= own_state
        assets |= own_assets
    codes: list[Any] = [model.carried.code for model in models.values() if model.carried.code]
    if any(code != codes[0] for code in codes):
        raise SelectorError(
            "models whose code is in several files cannot be put together; give one module with all"
        )
    carried = replace(made.carried, state=state, assets=assets, code=codes[0] if codes else None)
    done = replace(made, carried=carried)
    if any(model.carried.compiled for model in models.values()):
        done = done.with_note(f"{config['config']['name']} is a new model, which is not compiled")
    return done


def _names(key: str, model: Model) -> dict[str, str]:
    """Return the new addresses of a model's layers once it is nested under a key."""
    architecture = model.need_architecture("it is put into another")
    inner = {layer.address: join(key, layer.address) for layer in architecture.root.children}
    return {"": key, **inner}
