"""The contract of structural operations: what holds however one changes a model's layers."""

from __future__ import annotations

import copy
import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from surgery.architecture import Architecture
from surgery.architecture.entries import join
from surgery.architecture.graph import Call, Graph, Ref, entry_of, parse
from surgery.architecture.graph.nodes import models
from surgery.execution.saving import save
from surgery.formats.base import formats
from surgery.ops.structure import StructureOp
from surgery.recipe.language import Target
from surgery.testing.models import same_bytes
from surgery.weights.model import Carried, Model
from surgery.weights.tensor import Array, constant
from surgery.weights.weight import Weight


def check_structure(
    op: StructureOp, folder: Path, model: Model | None = None, new: Collection[str] = ()
) -> None:
    """Raise AssertionError where an op breaks the contract on a model.

    `new` are the addresses of weights that the op makes or changes; all others must be the model's
    own. Without a model it is `graph_model()`; `folder` is an empty one.
    """
    model = graph_model() if model is None else model
    before = copy.deepcopy(_facts(model))
    after = op.apply(model)
    assert _facts(model) == before, "the model before is changed"
    _check_config(after)
    _check_weights(model, after, new)
    _check_places(model, after)
    again = op.apply(model)
    assert _facts(again) == _facts(after), "applied twice, it gives two results"
    assert same_bytes(again, after), "applied twice, it gives other numbers"
    _check_written(after, folder)


def _facts(model: Model) -> Any:
    """Return all facts of a model but the values of its weights, to be compared."""
    assert model.architecture is not None
    config = json.loads(json.dumps(model.architecture.config))
    weights = [
        (w.address, w.tensor.shape, w.tensor.dtype, w.trainable, [n for n, _ in w.slots])
        for w in model.weights
    ]
    return config, weights, sorted(model.carried.state), sorted(model.carried.assets)


def _check_config(model: Model) -> None:
    """Check that each graph is as Keras itself would write it."""
    assert model.architecture is not None
    for address, _, entry in models(model.architecture):
        assert _json(entry_of(parse(entry))) == _json(entry), f"{address or 'it'} is out of order"


def _json(entry: Any) -> Any:
    """A config as a file has it, without what Keras makes again."""
    rest = {key: value for key, value in entry.items() if key != "build_config"}
    config = {k: v for k, v in entry["config"].items() if k != "build_input_shape"}
    return json.loads(json.dumps({**rest, "config": config}))


def _check_weights(before: Model, after: Model, new: Collection[str]) -> None:
    """Check that weights stand in Keras's order, and that those that are not new are the same."""
    assert after.architecture is not None
    addresses = [weight.address for weight in after.weights]
    known = after.architecture.weight_order
    assert [a for a in addresses if a in known] == list(known), "the weights are out of order"
    is_trained = any(weight.slots for weight in after.weights)  # else the optimizer is dropped
    own = {id(weight.tensor): weight for weight in before.weights}
    for weight in after.weights:
        if weight.address in new:
            continue
        assert id(weight.tensor) in own, f"{weight.address} is not the tensor that it was"
        old = own.pop(id(weight.tensor))
        assert weight.slots == old.slots or not is_trained, f"{weight.address} lost its slots"


def _check_places(before: Model, after: Model) -> None:
    """Check that state and assets belong to layers that are there."""
    assert before.architecture is not None
    assert after.architecture is not None
    was = {layer.group for layer in before.architecture.root.walk()}
    now = {layer.group for layer in after.architecture.root.walk()}
    places = [
        *after.carried.state,
        *(name.removeprefix("assets/") for name in after.carried.assets),
    ]
    for place in places:
        above = {place[:end] for end, letter in enumerate(place) if letter == "/"}
        assert above & now or not above & was, f"{place} belongs to no layer"


def _check_written(model: Model, folder: Path) -> None:
    """Check that the model is the same one once it is written and opened again."""
    form = formats()["keras"]
    path = folder / "written.keras"
    save(model, [Target(format=form, path=path)])
    back = form.open(path)
    assert [w.address for w in back.weights] == [w.address for w in model.weights]
    assert same_bytes(back, model)
    assert set(back.carried.state) == set(model.carried.state)
    assert back.carried.assets == model.carried.assets


def graph_model() -> Model:
    """Return a functional model, made without Keras, that has a bit of everything.

    `in` (4 numbers) goes to the Dense `a` and the Dropout `drop`; `add` adds `in` to them, the
    model `encoder` (a Dense `deep`, a ReLU `relu`) is called on that twice, one call after the
    other, and the Dense `out` has 2 units. All weights have slots, and `drop` has a seed.
    """
    encoder = _graph(
        "encoder", {"deep_in": _input("deep_in"), "deep": _dense("deep", 4), "relu": _relu()},
        {"deep_in": [[]], "deep": [[Ref("deep_in")]], "relu": [[Ref("deep")]]}, "relu",
    )  # fmt: skip
    layers = {
        "in": _input("in"),
        "a": _dense("a", 4),
        "drop": _entry("Dropout", "drop", rate=0.5),
        "add": _entry("Add", "add"),
        "encoder": encoder,
        "out": _dense("out", 2),
    }
    calls = {
        "in": [[]],
        "a": [[Ref("in")]],
        "drop": [[Ref("a")]],
        "add": [[[Ref("in"), Ref("drop")]]],
        "encoder": [[Ref("add")], [Ref("encoder")]],
        "out": [[Ref("encoder", 1)]],
    }
    config = _graph("net", layers, calls, "out")
    architecture = Architecture(config)
    weights = [
        _weight(variable.address, 2 if layer.name == "out" else 4)
        for layer, variable in architecture.root.weights()
    ]
    seed = constant(np.array([1, 2], np.uint32))
    place = join(architecture.by_address["drop"].group, "seed_generator/vars/0")
    carried = Carried(
        keras_version="3.10.0",
        backend="tensorflow",
        state={place: seed},
        assets={join("assets", architecture.by_address["a"].group, "words.txt"): b"x\n"},
    )
    return Model(tuple(weights), architecture, carried, origin="net")


def _weight(address: str, units: int) -> Weight:
    shape = (4, units) if address.endswith("kernel") else (units,)
    random = np.random.default_rng([*address.encode()])
    values: Array = random.standard_normal(shape).astype(np.float32)
    slots = tuple((name, constant(values * by)) for name, by in (("m", 2), ("v", 3)))
    return Weight(address, constant(values), (), True, True, slots=slots)


def _graph(name: str, layers: dict[str, Any], calls: dict[str, Any], end: str) -> dict[str, Any]:
    entry = _entry("Functional", name)
    made = Graph(
        {**entry, "module": "keras.src.models.functional", "registered_name": "Functional"},
        layers,
        {(key, n): Call(args) for key, own in calls.items() for n, args in enumerate(own)},
        Ref(next(iter(layers))),
        Ref(end, 0),
        {Ref(key, n): (None, 4) for key, own in calls.items() for n in range(len(own))},
        {Ref(key, n): "float32" for key, own in calls.items() for n in range(len(own))},
    )
    return {**entry_of(made), "name": name}


def _entry(class_name: str, name: str, **config: Any) -> dict[str, Any]:
    return {
        "module": "keras.layers",
        "class_name": class_name,
        "config": {"name": name, "trainable": True, **config},
        "registered_name": None,
    }


def _input(name: str) -> dict[str, Any]:
    return _entry("InputLayer", name, batch_shape=[None, 4], dtype="float32")


def _dense(name: str, units: int) -> dict[str, Any]:
    return _entry("Dense", name, units=units, use_bias=True, activation="linear")


def _relu() -> dict[str, Any]:
    return _entry("ReLU", "relu")


def with_lora(model: Model, rank: int = 2) -> Model:
    """Return the model with LoRA on its Dense layer `a`, as an `.h5` file has it."""
    assert model.architecture is not None
    layers = [
        {**entry, "config": {**entry["config"], "lora_rank": rank}}
        if entry["config"]["name"] == "a"
        else entry
        for entry in model.architecture.config["config"]["layers"]
    ]
    config = {
        **model.architecture.config,
        "config": {**model.architecture.config["config"], "layers": layers},
    }
    added = [
        Weight(f"a/lora_kernel_{side}", constant(np.ones(shape, np.float32)), (), True, True)
        for side, shape in (("a", (4, rank)), ("b", (rank, 4)))
    ]
    kernel, bias, *rest = model.weights
    weights = [bias, *added, replace(kernel, trainable=False, variable_trains=False), *rest]
    return replace(model, weights=tuple(weights), architecture=Architecture(config))
