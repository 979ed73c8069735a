"""Ops that change layers, against Keras doing the same by hand."""

import copy
import json
import random

import numpy as np
import pytest

import surgery
from surgery.architecture import Architecture
from surgery.errors import SurgeryError
from surgery.recipe.parts import build_op
from surgery.weights.model import Carried, Model
from tests.keras import structures
from tests.keras.random_structures import Builder, Seeded, functional, places
from tests.keras.structures import NETS, nets

APPLICATIONS = {
    "VGG16": "block3_pool",
    "ResNet50": "conv3_block2_out",
    "MobileNetV2": "block_6_expand_relu",
    "MobileNetV3Small": "expanded_conv_4_squeeze_excite_mul",
    "EfficientNetB0": "block3b_add",
    "DenseNet121": "conv3_block4_concat",
    "InceptionV3": "mixed3",
    "Xception": "add_1",
    "ConvNeXtTiny": "convnext_tiny_stage_1_block_1_identity",
}


@pytest.mark.parametrize("name", APPLICATIONS)
def test_extract_from_applications(name, keras, tmp_path):
    size = 96 if name in ("InceptionV3", "Xception") else 64
    make = getattr(keras.applications, name)
    keras.backend.clear_session()
    model = make(weights=None, include_top=False, input_shape=(size, size, 3))
    ours, theirs = structures.written(keras, structures.randomise(model), tmp_path / "m.keras")
    layer = theirs.get_layer(APPLICATIONS[name])
    new = structures.saved(keras, surgery.extract(ours, at=layer.name), tmp_path / "new.keras")
    expected = structures.cut(keras, theirs, layer.output)
    x = structures.inputs_of(keras, theirs, 1)
    assert structures.equal(keras, expected(x), new(x))
    assert [each.name for each in new.layers] == [each.name for each in expected.layers]


def is_inner_input(keras, place):
    return "/" in place.address and isinstance(place.layer, keras.layers.InputLayer)


def test_the_order_of_layers_in_500_extracts(keras):
    """Configs only: as Keras lists the layers once it has loaded them."""
    done = 0
    for seed in range(100):
        if done >= 500:
            break
        keras.backend.clear_session()
        model = Builder(keras, Seeded(seed)).model(2, 4, 3)
        config = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
        ours = Model((), Architecture(config), Carried(keras_version="3.10.0"))
        rng = random.Random(seed)
        there = [place for place in places(keras, model) if not is_inner_input(keras, place)]
        for place in rng.sample(there, min(len(there), 14)):
            at = {"layer": place.address, "call": rng.randrange(len(place.nodes)), "tensor": 0}
            cut = build_op("extract", {"at": at}).apply(ours).architecture.config
            order = [layer["name"] for layer in cut["config"]["layers"]]
            new = keras.saving.deserialize_keras_object(copy.deepcopy(cut))
            assert [layer.name for layer in new.operations] == order
            done += 1
    assert done >= 500


@pytest.fixture(scope="module")
def net(keras, tmp_path_factory):
    """By a net's name: what surgery opens, what Keras loads, and inputs; each is made once."""
    folder, made = tmp_path_factory.mktemp("nets"), {}

    def get(name):
        if name not in made:
            keras.backend.clear_session()
            model = structures.randomise(nets(keras)[name]())
            ours, theirs = structures.written(keras, model, folder / f"{name}.keras")
            made[name] = ours, theirs, structures.inputs_of(keras, theirs)
        return made[name]

    return get


@pytest.fixture
def saved(keras, tmp_path):
    """What Keras loads of a model."""
    return lambda model: structures.saved(keras, model, tmp_path / "m.keras")


def inner_of(keras, model, outer, layer):
    """What a layer inside a nested model gives for the nested model's input."""
    nested = model.get_layer(outer)
    return keras.Model(nested.inputs, nested.get_layer(layer).output)


def output(model, layer):
    return model.get_layer(layer).output


def node(model, layer, call):
    import keras

    (place,) = [place for place in places(keras, model) if place.address == layer]
    return place.nodes[call].outputs[0]


EXTRACTS = [
    ("plain", "norm", lambda m: output(m, "norm")),
    ("residual", "add_1", lambda m: output(m, "add_1")),
    ("residual", ["add_0", "dense_2"], lambda m: [output(m, "add_0"), output(m, "dense_2")]),
    ("residual", {"b": "add_0", "a": "given"}, lambda m: {"b": output(m, "add_0"), "a": m.input}),
    ("residual", ["add_0", "add_0"], lambda m: [output(m, "add_0")] * 2),
    ("several", "first", lambda m: output(m, "first")),
    ("attention", "mha", lambda m: output(m, "mha")),
    ("masked", "lstm", lambda m: output(m, "lstm")),
    ("sequential", "a", lambda m: output(m, "a")),
    ("operations", {"layer": "split", "tensor": 0}, lambda m: next(
        n for n in m.operations if n.name == "split").output[0]),
    ("shared", {"layer": "dense", "call": 1}, lambda m: node(m, "dense", 1)),
    ("shared", {"layer": "tower", "call": 2}, lambda m: node(m, "tower", 2)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "at", "outputs"), EXTRACTS)
def test_extract(name, at, outputs, net, keras, saved):
    ours, theirs, x = net(name)
    new = saved(surgery.extract(ours, at=at))
    given = theirs.inputs if name == "sequential" else theirs.input
    found = new(x)
    assert structures.equal(keras, keras.Model(given, outputs(theirs))(x), found)
    assert isinstance(found, dict) == (isinstance(at, dict) and "layer" not in at)


def test_extract_inside_a_nested_model(net, keras, saved):
    """Keras itself refuses to make such a model of the outer inputs."""
    ours, theirs, x = net("nested")
    new = saved(surgery.extract(ours, at="encoder/deep/d"))
    deep = theirs.get_layer("encoder").get_layer("deep")
    hidden = inner_of(keras, theirs, "encoder", "h")
    assert structures.equal(keras, deep.get_layer("d")(hidden(x)), new(x))
    assert [layer.name for layer in new.layers] == ["given", "encoder_h", "encoder_deep_d"]
    with pytest.raises(SurgeryError, match="encoder/inner_in is an input of a nested model"):
        surgery.extract(ours, at="encoder/inner_in")


def test_extract_of_one_call_of_a_shared_model(net, keras, saved):
    """Trap 14: of a layer that is called twice, Keras's `output` is one of both, unsaid."""
    ours, theirs, x = net("shared")
    with pytest.raises(SurgeryError) as error:
        surgery.extract(ours, at="tower/d")
    assert str(error.value).startswith("tower/d has several calls: call 0, tensor 0: 4, read by ")
    assert str(error.value).endswith("; write {layer: tower/d, call: 0}")
    dense, tower = theirs.get_layer("dense"), theirs.get_layer("tower")
    wanted = [tower(dense(x[0])), tower(x[1]), tower(dense(tower(x[1])))]
    wanted.append(tower(keras.ops.subtract(wanted[0], wanted[2])))
    results = [
        saved(surgery.extract(ours, at={"layer": "tower/d", "call": call}))(x) for call in range(4)
    ]
    for each in wanted[:3]:
        assert sum(structures.equal(keras, each, found) for found in results) == 1


def test_what_a_call_does_not_have(net):
    for name, at, message in (
        ("shared", {"layer": "dense", "call": 9}, "dense has no call 9: call 0, tensor 0: 4"),
        ("shared", {"layer": "dense", "call": 0, "tensor": 1}, "dense has no tensor 1"),
        ("operations", "split", "split has several tensors: call 0, tensor 0: 2, read by"),
        ("nested", "encoder", "encoder has several tensors"),
        ("nested", {"layer": "encoder", "tensor": 2}, "encoder has no tensor 2"),
        ("plain", "norn", "norn is no layer of the model; the nearest are norm"),
    ):
        with pytest.raises(SurgeryError, match=message):
            surgery.extract(net(name)[0], at=at)


def test_inputs_that_no_output_depends_on(net, keras, saved):
    ours, theirs, x = net("shared")
    number = theirs.get_layer("dense")._inbound_nodes[0].arguments.args[0].name != "one"
    for inputs, count in (("keep", 2), ("used", 1)):
        new = saved(surgery.extract(ours, at={"layer": "dense", "call": 0}, inputs=inputs))
        assert len(new.inputs) == count
        found = new(x if count > 1 else x[number])
        given = theirs.get_layer("tower")(x[1]) if number else x[0]
        assert structures.equal(keras, theirs.get_layer("dense")(given), found)


def by_change(keras, theirs, name, make):
    """The functional model in which a layer's calls give what `make(layer, args)` gives."""
    return structures.edited(
        keras,
        functional(keras, theirs),
        lambda layer, args, kwargs: make(layer, args, kwargs) if layer.name == name else None,
    )


REMOVED = [
    ("plain", "drop", None), ("plain", "norm", None), ("residual", "dense_1", None),
    ("residual", "add_1", 0), ("residual", "add_2", 1), ("shared", "tower", None),
    ("shared", "dense", None), ("attention", "mha", 0), ("operations", "multiply", None),
    ("sequential", "b", None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "layer", "keep"), REMOVED)
def test_remove(name, layer, keep, net, keras, saved):
    ours, theirs, x = net(name)
    new = saved(surgery.remove(ours, layer, keep_input=keep))

    def given(_layer, args, kwargs):
        tensors = keras.tree.flatten((args, kwargs))
        return [t for t in tensors if keras.backend.is_keras_tensor(t)][keep or 0]

    assert structures.equal(keras, by_change(keras, theirs, layer, given)(x), new(x))
    assert layer not in [each.name for each in new.layers]
    assert type(new) is type(theirs)


def test_remove_inside_nested_models(net, keras, saved):
    ours, theirs, x = net("nested")
    new = saved(surgery.remove(ours, ["encoder/deep/d", "head/q"]))
    hidden = inner_of(keras, theirs, "encoder", "h")(x)
    head = theirs.get_layer("head").get_layer("p")
    assert structures.equal(keras, [head(keras.ops.relu(hidden)), head(hidden)], new(x))
    assert [layer.name for layer in new.get_layer("encoder").get_layer("deep").layers] == [
        "deep_in"
    ]


def test_a_nested_model_and_what_is_inside_it(net, keras, saved):
    ours, theirs, x = net("shared")
    new = saved(surgery.remove(ours, ["tower", "tower/d"]))
    dense = theirs.get_layer("dense")
    assert structures.equal(keras, dense(x[0]) - dense(x[1]), new(x)[1])
    keys = {"activation": "tanh"}
    saved(surgery.set_config(net("nested")[0], ["encoder/h", "head/p"], keys=keys))


def test_what_cannot_be_removed(net):
    for name, keys, message in (
        ("plain", {"select": "image"}, "image is an input of the model; extract takes parts"),
        ("residual", {"select": "add_1"}, r"add_1 has 2 inputs; keep_input says which of them goes "
         r"on \(0: add_0, 1: dense_1\)"),
        ("residual", {"select": "add_1", "keep_input": 2}, "add_1 has 2 inputs, none of number 2"),
        ("nested", {"select": "encoder"}, "encoder returns several tensors, of which"),
        ("plain", {"select": "flat"}, r"out \(Dense\) would not fit"),
        ("plain", {"select": "drip"}, "drip is no layer of the model; the nearest are drop"),
    ):  # fmt: skip
        with pytest.raises(SurgeryError, match=message):
            build_op("remove", keys).apply(net(name)[0])


INSERTED = [
    ("plain", "after", "conv"), ("residual", "after", "add_0"), ("residual", "before", "dense_1"),
    ("shared", "after", "tower"), ("shared", "before", "dense"), ("several", "after", "both"),
    ("nested", "before", "head"), ("attention", "after", "mha"), ("operations", "after", "d"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "where", "layer"), INSERTED)
def test_insert(name, where, layer, net, keras, saved):
    ours, theirs, x = net(name)
    keys = {"layer": {"Activation": {"activation": "tanh", "name": "new"}}, where: layer}
    new = saved(surgery.insert(ours, **keys))

    def make(old, args, kwargs):
        if where == "after":
            return keras.ops.tanh(old(*args, **kwargs))
        return old(keras.ops.tanh(args[0]), *args[1:], **kwargs)

    assert structures.equal(keras, by_change(keras, theirs, layer, make)(x), new(x))
    assert "new" in [each.name for each in new.layers]


def test_insert_behind_the_first_call_only(net, keras, saved):
    ours, theirs, x = net("shared")
    new = saved(surgery.insert(ours, after="dense", call=0, layer={"ReLU": {"name": "new"}}))
    is_input = theirs.get_layer("dense")._inbound_nodes[0].arguments.args[0].name == "one"

    def make(old, args, _):
        made = old(args[0])
        return keras.ops.relu(made) if (args[0].name == "one") == is_input else made

    assert structures.equal(keras, by_change(keras, theirs, "dense", make)(x), new(x))
    assert not structures.equal(keras, theirs(x), new(x))


def test_insert_inside_a_nested_model(net, keras, saved):
    ours, theirs, x = net("nested")
    new = saved(surgery.insert(ours, after="encoder/deep/d", layer={"Dense": {"units": 4}}))
    deep = new.get_layer("encoder").get_layer("deep")
    assert [layer.name for layer in deep.layers] == ["deep_in", "d", "dense"]
    hidden = inner_of(keras, theirs, "encoder", "h")(x)
    x = deep.get_layer("dense")(theirs.get_layer("encoder").get_layer("deep")(hidden))
    head = theirs.get_layer("head")
    assert structures.equal(keras, [head(keras.ops.relu(x)), head(x)], new(net("nested")[2]))


def test_insert_beside_an_input(net, keras, saved):
    ours, theirs, x = net("residual")
    new = saved(surgery.insert(ours, after="given", layer={"Activation": {"activation": "tanh"}}))
    assert structures.equal(keras, theirs(keras.ops.tanh(x)), new(x))
    for name, keys, message in (
        ("residual", {"before": "given"}, "given is an input of the model; say after instead"),
        ("several", {"before": "both"}, "both has 2 inputs; say after which layer instead"),
        ("nested", {"after": "encoder"}, "encoder returns several tensors; say before which"),
    ):
        with pytest.raises(SurgeryError, match=message):
            surgery.insert(net(name)[0], layer={"ReLU": {}}, **keys)


@pytest.mark.parametrize(
    ("name", "layer"),
    [("residual", "dense_1"), ("shared", "dense"), ("shared", "tower"), ("plain", "out")],
)
def test_replace(name, layer, net, keras, saved):
    ours, theirs, x = net(name)
    units = 6 if name == "residual" else 4
    new = saved(surgery.replace(ours, layer, layer={"Dense": {"units": units, "use_bias": False}}))
    added = new.get_layer(layer)
    expected = by_change(keras, theirs, layer, lambda _old, args, _: added(args[0]))
    assert structures.equal(keras, expected(x), new(x))
    if layer.startswith("dense"):  # a variable of the same name and shape stays
        assert np.array_equal(added.kernel, theirs.get_layer(layer).kernel)


def test_an_operation_is_replaced_without_its_numbers(net, keras, saved):
    ours, theirs, x = net("operations")
    new = saved(surgery.replace(ours, "multiply", layer={"Activation": {"activation": "tanh"}}))
    expected = by_change(keras, theirs, "multiply", lambda _old, args, _: keras.ops.tanh(args[0]))
    assert structures.equal(keras, expected(x), new(x))


def test_what_cannot_be_replaced(net):
    for name, layer, message in (
        ("residual", "add_1", "add_1 has 2 inputs, and replace takes one"),
        ("residual", "given", "given has 0 inputs, and replace takes one"),
        ("operations", "split", "split returns several tensors, and a new layer one"),
    ):
        with pytest.raises(SurgeryError, match=message):
            surgery.replace(net(name)[0], layer, layer={"ReLU": {}})


def test_append(net, keras, saved):
    ours, theirs, x = net("several")
    layers = [{"Dense": {"units": 5, "name": "new"}}, "Softmax"]
    new = saved(surgery.append(ours, layers=layers, to="y"))
    found, wanted = new(x), theirs(x)
    assert structures.equal(keras, wanted["z"], found["z"])
    head = keras.layers.Softmax()(new.get_layer("new")(wanted["y"]))
    assert structures.equal(keras, head, found["y"])
    with pytest.raises(SurgeryError, match="say which output: to is one of z, y"):
        surgery.append(ours, layers=layers)
    ours, theirs, x = net("sequential")
    new = saved(surgery.append(ours, layers=["Softmax"]))
    assert type(new) is keras.Sequential
    assert structures.equal(keras, keras.layers.Softmax()(theirs(x)), new(x))


@pytest.mark.parametrize("name", NETS)
def test_prefix(name, net, keras, saved):
    ours, theirs, x = net(name)
    new = saved(surgery.prefix(ours, with_="t_"))
    assert structures.equal(keras, theirs(x), new(x))
    assert [layer.name for layer in new.layers] == [f"t_{layer.name}" for layer in theirs.layers]
    assert new.name == f"t_{theirs.name}"


@pytest.mark.parametrize(
    ("name", "select", "left"),
    [("nested", "**", []), ("shared", "**", []), ("nested", "*", ["encoder_deep"])],
)
def test_flatten(name, select, left, net, keras, saved):
    ours, theirs, x = net(name)
    new = saved(surgery.flatten(ours, select))
    assert structures.equal(keras, theirs(x), new(x))
    assert [layer.name for layer in new.layers if isinstance(layer, keras.Model)] == left


def test_names_of_flattened_layers(net, saved):
    ours = net("nested")[0]
    new = saved(surgery.flatten(ours, "**", names="{inner}"))
    assert {"given", "h", "d", "r", "p", "q"} == {layer.name for layer in new.layers}
    with pytest.raises(SurgeryError, match="r names no nested model"):
        surgery.flatten(ours, "encoder/r")


def test_set_config(net, keras, saved):
    ours, theirs, x = net("residual")
    keys = {"activation": "tanh", "kernel_regularizer": {"l2": 0.1}}
    new = saved(surgery.set_config(ours, "dense_1", keys=keys))
    old = theirs.get_layer("dense_1")
    plain = keras.layers.Dense.from_config({**old.get_config(), "activation": "tanh"})
    plain.build((None, 6))
    plain.set_weights(old.get_weights())
    expected = by_change(keras, theirs, "dense_1", lambda _old, args, _: plain(args[0]))
    assert structures.equal(keras, expected(x), new(x))
    assert isinstance(new.get_layer("dense_1").kernel_regularizer, keras.regularizers.L2)
    for keys, message in (
        ({"units": 7}, "units: dense_1 would have the variables"),
        ({"use_bias": False}, "use_bias: dense_1 would have the variables"),
        ({"activation": "rely"}, "Keras cannot put dense_1"),
        ({"activatoin": "relu"}, "no argument 'activatoin' .did you mean 'activation'"),
    ):
        with pytest.raises(SurgeryError, match=message):
            surgery.set_config(ours, "dense_1", keys=keys)


def test_replace_head(net, keras, saved):
    ours, theirs, x = net("plain")
    layers = [{"Dense": {"units": 6, "activation": "relu"}}]
    new = saved(surgery.replace_head(ours, after="conv", layers=layers, dropout=0.5, classes=3))
    y = theirs.get_layer("conv").output
    for name in ("head_pool", "head_1", "head_dropout", "head"):
        y = new.get_layer(name)(y)
    assert structures.equal(keras, keras.Model(theirs.input, y)(x), new(x))
    assert [layer.name for layer in new.layers][:2] == ["image", "conv"]
    for pool, shape in (("max", (None, 4)), ("flatten", (None, 64)), ("none", (None, 4, 4, 4))):
        made = surgery.replace_head(ours, after="conv", pool=pool, classes=3, activation=None)
        new = saved(made)
        assert new.get_layer("head").input.shape == shape
        assert new.output_shape == (*shape[:-1], 3)
    with pytest.raises(SurgeryError, match="there is a layer called conv already"):
        surgery.replace_head(ours, after="norm", classes=3, name="conv")


def test_outputs_beside_a_new_head(net, keras, saved):
    ours, theirs, x = net("several")
    new = saved(surgery.replace_head(ours, after="both", classes=2))
    assert len(new(x)) == 1  # which stands for all that were there
    new = saved(surgery.replace_head(ours, after="first", classes=2))
    found, wanted = new(x), theirs(x)
    assert structures.equal(keras, wanted["y"], found["y"])
    assert structures.equal(keras, new.get_layer("head")(wanted["z"]), found["z"])
    new = saved(surgery.replace_head(ours, after="first", classes=2, outputs="drop"))
    assert set(new(x)) == {"z"}


def test_resize_input(net, keras, saved):
    ours, _, x = net("plain")
    headless = surgery.replace_head(ours, after="norm", classes=2)
    old = saved(headless)
    gray = x[..., :1]
    three = np.repeat(gray, 3, -1)
    for by, given in (("sum", three), ("mean", three / 3), ("first", gray * [1, 0, 0])):
        new = saved(surgery.resize_input(headless, channels=1, by=by))
        assert structures.difference(keras, old(given.astype("float32")), new(gray)) < 2e-6
    new = saved(surgery.resize_input(headless, channels=6, by="tile"))
    assert structures.difference(keras, old(x), new(np.concatenate([x, x], -1))) < 2e-6
    new = saved(surgery.resize_input(headless, size=[9, 7]))
    assert new.input_shape == (None, 9, 7, 3)
    assert all(map(np.array_equal, old.get_weights(), new.get_weights()))
    with pytest.raises(SurgeryError, match=r"out/kernel is \[64, 2\] and would be \[36, 2\]"):
        surgery.resize_input(ours, size=[5, 5])  # trap 15
    new = saved(surgery.resize_input(ours, size=[5, 5], changed="reinitialize"))
    assert new.get_layer("out").kernel.shape == (36, 2)


def test_join_and_chain(net, keras, saved, tmp_path):
    one, two = str(tmp_path / "one.keras"), str(tmp_path / "two.keras")
    surgery.save(net("sequential")[0], keras=one)
    ours, theirs, x = net("nested")
    last = net("sequential")[1]
    new = saved(surgery.join(ours, models={"b": one}, as_="a"))
    assert structures.equal(keras, [*theirs(x), last(x)], new(x))
    inner = inner_of(keras, theirs, "encoder", "h")(x)
    single = surgery.extract(ours, at="encoder/h")
    surgery.save(surgery.prefix(single, with_="b_"), keras=two)
    merges = {"average": keras.layers.Average(), "add": keras.layers.Add(),
              "concatenate": keras.layers.Concatenate()}  # fmt: skip
    for outputs, merge in merges.items():
        new = saved(surgery.join(single, models={"b": two}, as_="a", outputs=outputs))
        assert structures.equal(keras, merge([inner, inner]), new(x))
    new = saved(surgery.chain(single, with_={"next": one}, as_="a"))
    assert structures.equal(keras, last(inner), new(x))
    apart = saved(surgery.join(single, models={"b": two}, as_="a", inputs="apart", outputs="add"))
    assert structures.equal(keras, inner + inner, apart([x, x]))
    with pytest.raises(SurgeryError, match=r"next takes \[4\] and a gives \[3\]"):
        surgery.chain(net("sequential")[0], with_={"next": two}, as_="a")
