"""Graphs of configs: read and written without Keras, and damaged ones."""

import copy
import json

import pytest

import surgery
from surgery.architecture.graph import (
    Graph,
    Ref,
    entry_of,
    flattened,
    inlined,
    is_graph,
    keras_order,
    parse,
    refs,
    topological,
)
from surgery.architecture.graph.editing import inserted, with_layer, with_layer_names, without_layer
from surgery.errors import SurgeryError
from surgery.formats.upgrading import as_keras3
from surgery.ops.base import ops
from surgery.ops.structure import StructureOp
from surgery.recipe.parts import build_op
from surgery.weights.model import Carried, Model
from tests.conftest import model_path, published_models
from tests.keras.structures import NETS, nets


@pytest.fixture(scope="module")
def configs(keras):
    """The config of each net, as Keras writes it once it has loaded it."""

    def config(build):
        keras.backend.clear_session()
        entry = None
        model = build()
        for _ in range(2):
            with keras.src.saving.object_registration.CustomObjectScope({}):
                entry = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
            model = keras.saving.deserialize_keras_object(copy.deepcopy(entry))
        return without(entry, "build_config")

    return {name: config(build) for name, build in nets(keras).items()}


def without(value, *keys):
    """A config without some keys, at the model alone."""
    return {key: item for key, item in value.items() if key not in keys}


@pytest.mark.parametrize("name", NETS)
def test_reading_and_writing_changes_nothing(name, configs):
    entry = configs[name]
    written = json.loads(json.dumps(entry_of(parse(entry))))
    assert without(written, "build_config") == json.loads(json.dumps(entry))


@pytest.mark.parametrize("name", NETS)
def test_the_order_of_layers_is_keras_s_own(name, configs):
    """Also where the config lists them in another one."""
    graph = parse(configs[name])
    assert keras_order(graph) == list(graph.layers)
    turned = Graph(**{**vars(graph), "layers": dict(reversed(graph.layers.items()))})
    assert entry_of(turned)["config"]["layers"] == entry_of(graph)["config"]["layers"]


@pytest.mark.parametrize(("model", "golden"), published_models({"keras_zip"}))
def test_published_graphs_are_written_as_they_were(model, golden):
    opened = as_keras3(surgery.open(model_path(golden)))
    if not is_graph(opened.architecture.config):
        return
    graph = parse(opened.architecture.config)
    again = entry_of(graph)
    assert entry_of(parse(again)) == again
    assert {e["config"]["name"] for e in again["config"]["layers"]} <= set(graph.layers)


def test_calls_of_a_nested_model(configs):
    """Trap 4: outputs count a call that Keras makes of a functional model by itself."""
    graph = parse(configs["shared"])
    assert graph.calls_of("tower") == [0, 1, 2, 3]
    assert refs(graph.outputs)[0].layer == "tower"
    number = refs(graph.outputs)[0].call
    assert configs["shared"]["config"]["output_layers"][0] == ["tower", number + 1, 0]
    (minus,) = (graph.calls[key] for key in graph.calls if key[0] == "minus")
    stored = next(x for x in configs["shared"]["config"]["layers"] if x["name"] == "minus")
    (given,) = stored["inbound_nodes"][0]["args"]
    assert [ref.call for ref in minus.refs()] == [
        tensor["config"]["keras_history"][1] for tensor in given
    ]


def test_masks_are_arguments_by_name(configs):
    """Trap 6."""
    graph = parse(configs["masked"])
    (call,) = (graph.calls[key] for key in graph.calls if key[0] == "lstm")
    assert call.kwargs["mask"].layer == "not_equal"
    assert [ref.layer for ref in call.refs()] == ["embedding", "not_equal"]
    with pytest.raises(ValueError, match="lstm has 2 inputs; keep_input says which"):
        without_layer(graph, "lstm")
    assert refs(without_layer(graph, "lstm", 0).outputs) == [Ref("embedding")]


def test_inlining_calls_the_layers_for_each_call(configs):
    graph, new = inlined(parse(configs["shared"]), "tower", "{}_{}".format)
    assert new == {"tower/d": "tower_d"}
    assert graph.calls_of("tower_d") == [0, 1, 2, 3]
    assert "tower" not in graph.layers
    assert entry_of(parse(entry_of(graph))) == entry_of(graph)


def test_flattening_goes_as_deep_as_is_said(configs):
    graph = parse(configs["nested"])
    deep, new = flattened(graph, ["encoder/deep"], "{}_{}".format)
    assert new["encoder/deep/d"] == "encoder_deep_d"
    assert new["encoder/h"] == "encoder_h"
    assert "head" in deep.layers
    (shallow, new) = flattened(graph, ["encoder"], "{}_{}".format)
    assert new["encoder/deep"] == "encoder_deep"
    assert shallow.layers["encoder_deep"]["class_name"] == "Functional"
    with pytest.raises(ValueError, match="encoder/h is not a model"):
        flattened(graph, ["encoder/h"], "{}_{}".format)


def test_names_that_would_meet(configs):
    graph = parse(configs["nested"])
    with pytest.raises(ValueError, match="two layers would be called given"):
        inlined(graph, "head", lambda outer, inner: "given")
    with pytest.raises(ValueError, match="two layers would have one name"):
        with_layer_names(graph, {"encoder": "head"})
    with pytest.raises(ValueError, match="there is a layer called head already"):
        with_layer(graph, "head", graph.layers["head"], {})


def test_what_is_read_from_a_tensor_reads_the_inserted_layer(configs):
    graph = parse(configs["residual"])
    entry = {"class_name": "ReLU", "config": {"name": "x"}}
    grown = inserted(graph, "new", entry, [Ref("add_0")])
    assert grown.readers(Ref("add_0")) == [("new", 0)]
    assert {name for name, _ in grown.readers(Ref("new"))} == {"dense_1", "add_1"}
    back = without_layer(grown, "new")
    assert entry_of(back) == entry_of(graph)


def test_a_layer_that_is_called_on_its_own_output(configs):
    """Removing it joins what was before its first call to what follows its last."""
    entry = configs["residual"]
    graph = parse(entry)
    for name in ("add_0", "add_1", "add_2"):
        graph = without_layer(graph, name, keep_input=0)
    assert refs(graph.outputs) == [Ref("given")]
    assert topological(graph) == [("given", 0)]


# A config may come from anywhere. What is wrong in it must be told, not end in a traceback.
FUNCTIONAL = {
    "module": "keras",
    "class_name": "Functional",
    "registered_name": "Functional",
    "config": {
        "name": "m",
        "trainable": True,
        "layers": [
            {
                "module": "keras.layers",
                "class_name": "InputLayer",
                "config": {"batch_shape": [None, 4], "dtype": "float32", "name": "in"},
                "registered_name": None,
                "name": "in",
                "inbound_nodes": [],
            },
            {
                "module": "keras.layers",
                "class_name": "ReLU",
                "config": {"name": "a"},
                "registered_name": None,
                "name": "a",
                "inbound_nodes": [
                    {
                        "args": [
                            {
                                "class_name": "__keras_tensor__",
                                "config": {
                                    "shape": [None, 4],
                                    "dtype": "float32",
                                    "keras_history": ["in", 0, 0],
                                },
                            }
                        ],
                        "kwargs": {},
                    }
                ],
            },
        ],
        "input_layers": [["in", 0, 0]],
        "output_layers": [["a", 0, 0]],
    },
}
NODE = ("config", "layers", 1, "inbound_nodes", 0)
TENSOR = (*NODE, "args", 0, "config")
DAMAGED = [
    ((*TENSOR, "keras_history"), ["nobody", 0, 0]),
    ((*TENSOR, "keras_history"), ["in", 7, 0]),
    ((*TENSOR, "keras_history"), ["in", -1, 0]),
    ((*TENSOR, "keras_history"), ["in", 0, -1]),
    ((*TENSOR, "keras_history"), ["in", "x", 0]),
    ((*TENSOR, "keras_history"), ["in"]),
    ((*TENSOR, "keras_history"), "in"),
    ((*TENSOR, "keras_history"), None),
    ((*TENSOR, "keras_history"), [["in"], 0, 0]),
    ((*TENSOR, "keras_history"), ["a", 0, 0]),
    ((*TENSOR, "shape"), 4),
    ((*TENSOR, "shape"), ["x"]),
    ((*TENSOR, "dtype"), ["x"]),
    (TENSOR, None),
    ((*NODE, "args"), None),
    ((*NODE, "args"), "in"),
    ((*NODE, "args"), []),
    ((*NODE, "kwargs"), None),
    ((*NODE, "kwargs"), []),
    (NODE, {}),
    (NODE, []),
    (NODE, [["in"]]),
    (NODE, [[["in"], 0, 0, {}]]),
    (NODE, [["in", 0, 0, 4]]),
    (NODE, [4]),
    (("config", "layers", 1, "name"), "in"),
    (("config", "layers", 1, "name"), "b"),
    (("config", "layers", 1, "config"), None),
    (("config", "layers", 1, "config"), {}),
    (("config", "layers", 1, "inbound_nodes"), None),
    (("config", "layers", 1, "inbound_nodes"), []),
    (("config", "layers", 0, "config", "batch_shape"), 4),
    (("config", "layers", 0, "config", "batch_shape"), ["x", 4]),
    (("config", "layers", 0, "config", "batch_shape"), None),
    (("config", "layers", 0, "class_name"), "ReLU"),
    (("config", "layers"), []),
    (("config", "input_layers"), None),
    (("config", "input_layers"), []),
    (("config", "input_layers"), ["in"]),
    (("config", "input_layers"), [["nobody", 0, 0]]),
    (("config", "input_layers"), [["in", 3, 0]]),
    (("config", "input_layers"), 4),
    (("config", "output_layers"), None),
    (("config", "output_layers"), []),
    (("config", "output_layers"), {}),
    (("config", "output_layers"), [["nobody", 0, 0]]),
    (("config", "output_layers"), [["a", 3, 0]]),
    (("config", "output_layers"), [["a", 0, "x"]]),
    (("config", "output_layers"), [[["a"], 0, 0]]),
    (("config", "output_layers"), [["a", None, 0]]),
    (("config", "output_layers"), {"y": 4}),
    (("config", "output_layers"), 4),
]


def with_value(value, keys, new):
    if not keys:
        return new
    changed = copy.copy(value)
    changed[keys[0]] = with_value(value[keys[0]], keys[1:], new)
    return changed


def without_key(value, keys):
    changed = copy.copy(value)
    if len(keys) == 1:
        del changed[keys[0]]
    else:
        changed[keys[0]] = without_key(value[keys[0]], keys[1:])
    return changed


def every_key(value, place=()):
    """The way to each key and item of a config."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*place, key)
        if isinstance(item, dict | list):
            yield from every_key(item, (*place, key))


STEPS = {
    "extract": {"at": "a"},
    "remove": {"select": "a"},
    "insert": {"after": "in", "layer": {"ReLU": {"name": "new"}}},
    "replace": {"select": "a", "layer": {"ReLU": {}}},
    "append": {"layers": [{"ReLU": {"name": "new"}}]},
    "replace_head": {"after": "a", "classes": 2},
    "resize_input": {"size": [3], "channels": 4},
    "flatten": {"select": "**"},
    "prefix": {"with": "p_"},
    "set_config": {"select": "a", "keys": {"negative_slope": 0.1}},
}


def model_of(config):
    from surgery.architecture import Architecture

    return Model((), Architecture(config), Carried(keras_version="3.10.0"), origin="m.keras")


def tried(config):
    """The message of each step that the config does not let go on."""
    told = {}
    for name, keys in STEPS.items():
        try:
            made = build_op(name, keys).apply(model_of(config))
            parse(made.architecture.config)
        except SurgeryError as error:
            told[name] = str(error)
    return told


@pytest.mark.parametrize(
    ("keys", "new"), DAMAGED, ids=[f"{'.'.join(map(str, keys))}={new}" for keys, new in DAMAGED]
)
def test_a_damaged_graph_is_told(keys, new, keras):
    assert set(tried(with_value(FUNCTIONAL, keys, new))) >= {"extract", "prefix"} or new in (
        ["in", 0, -1],
        ["x"],
        [],
        None,
        {},
        4,
        "b",
    )


def test_a_graph_without_one_of_its_keys(keras):
    for keys in every_key(FUNCTIONAL):
        tried(without_key(FUNCTIONAL, keys))


def test_what_is_damaged_is_said_by_its_place():
    damaged = with_value(FUNCTIONAL, (*TENSOR, "keras_history"), ["nobody", 0, 0])
    told = tried(damaged)
    assert "the config of m.keras is damaged: a is given the output of " in told["extract"]


def test_every_structural_op_is_tried():
    there = {name for name, op in ops().items() if issubclass(op, StructureOp)}
    assert there - set(STEPS) <= {"join", "chain", "lora_merge", "fold_batchnorm", "factorize",
                                  "deepen", "widen", "remove_channels"}  # fmt: skip
