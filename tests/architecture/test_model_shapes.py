"""The shapes and FLOPs of whole models, against the real Keras and formulas by hand."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import surgery
from surgery.architecture.shapes import model_shapes
from surgery.errors import SurgeryError
from surgery.formats.base import formats
from surgery.live.symbolic import symbolic_model, without_memory
from tests.conftest import model_path, published_models


def config_of(model):
    """What a file has of it."""
    return json.loads(model.to_json())


def outputs_of(model):
    """By layer and call: the shapes of what a Keras model's calls return."""
    return {
        (operation.name, number): [tuple(tensor.shape) for tensor in node.output_tensors]
        for operation in getattr(model, "_functional", model).operations
        for number, node in enumerate(operation._inbound_nodes)
    }


def unequal(model, shapes):
    """The calls whose outputs are not those that Keras says; unknown ones are left out."""
    theirs = outputs_of(model)
    return [
        (place, ours, theirs[place])
        for place in shapes.flops
        if (ours := list(shapes.of_call(*place))) and None not in ours and ours != theirs[place]
    ]


def unknown(shapes):
    return [place for place in shapes.flops if not shapes.of_call(*place)]


APPLICATIONS = {  # GFLOPs; None where the size of the image is open
    "ConvNeXtTiny": 8.959,
    "DenseNet121": 5.718,
    "EfficientNetB0": 0.797,
    "EfficientNetV2B0": 1.453,
    "InceptionResNetV2": None,
    "InceptionV3": 11.478,
    "MobileNet": 1.153,
    "MobileNetV2": 0.621,
    "MobileNetV3Large": None,
    "MobileNetV3Small": None,
    "NASNetMobile": 1.157,
    "ResNet50": 7.764,
    "ResNet50V2": 6.999,
    "VGG16": 30.960,
    "Xception": 16.789,
}


@pytest.mark.parametrize("name", APPLICATIONS)
def test_applications(name, keras):
    with without_memory():
        model = getattr(keras.applications, name)(weights=None)
        found = model_shapes(config_of(model))
        assert not unequal(model, found)
    assert not unknown(found)
    assert set(found.flops) == set(outputs_of(model))
    if APPLICATIONS[name] is None:
        assert found.total is None or name == "InceptionResNetV2"
    else:
        assert round(found.total / 1e9, 3) == APPLICATIONS[name]


def recurrent(k, ops):
    x = k.Input((None, 4))
    sequence, *states = k.layers.LSTM(5, return_sequences=True, return_state=True)(x)
    decoded = k.layers.LSTM(5, return_sequences=True)(sequence, initial_state=states)
    attended = k.layers.Attention()([decoded, sequence])
    return k.Model(x, k.layers.TimeDistributed(k.layers.Dense(3))(attended))


def attention(k, ops):
    x = k.Input((6,))
    y = k.layers.Embedding(9, 8, mask_zero=True)(x)
    y, scores = k.layers.MultiHeadAttention(2, 4)(y, y, return_attention_scores=True)
    y = k.layers.Bidirectional(k.layers.GRU(3, return_state=True))(y)
    return k.Model(x, [k.layers.Concatenate()(y), scores])


def nested(k, ops):
    i = k.Input((5,))
    tower = k.Model(i, k.layers.Dense(6)(k.layers.Dense(8)(i)), name="tower")
    head = k.Sequential([k.Input((6,)), k.layers.Dense(4), k.layers.Dropout(0.5)], name="head")
    a, b = k.Input((5,), name="a"), k.Input((5,), name="b")
    y = head(k.layers.Subtract()([tower(a), tower(b)]))
    return k.Model({"a": a, "b": b}, {"out": y, "other": tower(a)})


def shared(k, ops):
    a, b = k.Input((8, 8, 3)), k.Input((12, 10, 3))
    layer = k.layers.Conv2D(4, 3)
    pooled = [k.layers.GlobalAveragePooling2D()(layer(x)) for x in (a, b)]
    return k.Model([a, b], k.layers.Average()(pooled))


def by_operations(k, ops):
    x = k.Input((8, 8, 4))
    a, b = ops.split(ops.relu(x * 2.0 + 1.0), 2, axis=-1)
    y = ops.reshape(ops.concatenate([a, ops.sigmoid(b)], axis=-1), (-1, 64, 4))
    y = ops.matmul(y, ops.transpose(y, (0, 2, 1)))
    y = ops.einsum("bij,bjk->bik", y, y[:, :, ::2])
    return k.Model(x, ops.mean(ops.squeeze(y[:, None, 1:-1], axis=1), axis=[1], keepdims=True))


def inside_wrappers(k, ops):
    x = k.Input((5, 9, 8, 3))
    i = k.Input((9, 8, 3))
    inner = k.Model(i, k.layers.Flatten()(k.layers.Conv2D(2, 3, strides=2)(i)))
    return k.Model(x, k.layers.LSTM(4)(k.layers.TimeDistributed(inner)(x)))


def sequential(k, ops):
    return k.Sequential([k.Input((9, 8, 3)), k.layers.Conv2D(4, 3), k.layers.Flatten()])


NETS = (recurrent, attention, nested, shared, by_operations, inside_wrappers, sequential)


@pytest.mark.parametrize("build", NETS, ids=lambda build: build.__name__)
def test_models_of_all_kinds(build, keras):
    model = build(keras, keras.ops)
    found = model_shapes(config_of(model))
    assert not unequal(model, found)
    assert not unknown(found)
    assert (found.total is None) == (build is recurrent)  # whose length is open


def test_each_call_of_a_shared_model_counts(keras):
    found = model_shapes(config_of(nested(keras, keras.ops)))
    tower = 8 * (2 * 5 + 1) + 6 * (2 * 8 + 1)
    assert [found.flops["tower", call] for call in range(2)] == [tower, tower]
    assert [inner.total for (name, _), inner in found.inner.items() if name == "tower"] == [
        tower
    ] * len([place for place in found.flops if place[0] == "tower"])
    others = 6 + 4 * (2 * 6 + 1)
    assert found.total == others + tower * len([p for p in found.flops if p[0] == "tower"])


def test_a_shared_layer_has_the_shape_of_each_call(keras):
    found = model_shapes(config_of(shared(keras, keras.ops)))
    assert found.of_call("conv2d") or found.of_call(next(n for n, _ in found.flops if "conv" in n))
    name = next(name for name, _ in found.flops if name.startswith("conv2d"))
    assert found.of_call(name, 0) == ((None, 6, 6, 4),)
    assert found.of_call(name, 1) == ((None, 10, 8, 4),)
    assert found.flops[name, 1] == 10 * 8 * 4 * (2 * 27 + 1)


def test_a_class_of_ones_own_is_unknown_or_as_stored(keras):
    class Doubling(keras.layers.Layer):
        def call(self, x):
            return keras.ops.concatenate([x, x], axis=-1)

    x = keras.Input((4,))
    y = keras.layers.Dense(3)(Doubling(name="own")(x))
    found = model_shapes(config_of(keras.Model(x, Doubling(name="last")(y))))
    assert found.of_call("own") == ((None, 8),)  # which the layer after it has noted
    assert found.of_call("last") == ()
    assert found.flops["own", 0] is None
    assert found.flops[next(p for p in found.flops if "dense" in p[0])] == 3 * (2 * 8 + 1)
    assert found.total is None
    assert found.outputs in (None, [None])


def test_a_rule_goes_before_what_is_stored(keras):
    """After an edit, what the consumers of a tensor have noted of it is stale."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.ReLU()])
    x = keras.Input((4,))
    model = keras.Model(x, keras.layers.ReLU(name="relu")(keras.layers.Dense(3, name="d")(x)))
    config = config_of(model)
    for entry in config["config"]["layers"]:
        if entry["name"] == "d":
            entry["config"]["units"] = 7
    found = model_shapes(config)
    assert found.of_call("relu") == ((None, 7),)
    assert found.flops["d", 0] == 7 * (2 * 4 + 1)


def test_an_open_size_leaves_flops_unknown(keras):
    x = keras.Input((None, None, 3))
    y = keras.layers.Conv2D(4, 3, name="conv")(x)
    y = keras.layers.Dense(2, name="head")(keras.layers.GlobalMaxPooling2D(name="pool")(y))
    found = model_shapes(config_of(keras.Model(x, y)))
    assert found.flops["conv", 0] is None
    assert found.flops["head", 0] == 2 * (2 * 4 + 1)
    assert found.total is None


SIZES = st.integers(1, 4)
PADDING = st.sampled_from(["valid", "same"])
LINKS = st.one_of(
    st.builds(dict, kind=st.just("Conv2D"), filters=SIZES, kernel_size=SIZES, strides=SIZES,
              padding=PADDING),
    st.builds(dict, kind=st.just("Conv2D"), filters=SIZES, kernel_size=SIZES,
              dilation_rate=SIZES, padding=PADDING),
    st.builds(dict, kind=st.just("Conv2DTranspose"), filters=SIZES, kernel_size=SIZES,
              strides=SIZES, padding=PADDING),
    st.builds(dict, kind=st.just("DepthwiseConv2D"), kernel_size=SIZES, depth_multiplier=SIZES,
              padding=PADDING),
    st.builds(dict, kind=st.just("SeparableConv2D"), filters=SIZES, kernel_size=SIZES,
              padding=PADDING),
    st.builds(dict, kind=st.sampled_from(["MaxPooling2D", "AveragePooling2D"]), pool_size=SIZES,
              strides=st.one_of(st.none(), SIZES), padding=PADDING),
    st.builds(dict, kind=st.just("ZeroPadding2D"), padding=SIZES),
    st.builds(dict, kind=st.just("Cropping2D"), cropping=SIZES),
    st.builds(dict, kind=st.just("UpSampling2D"), size=SIZES),
    st.builds(dict, kind=st.just("Dense"), units=SIZES),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.one_of(st.none(), st.integers(1, 40))] * 2, SIZES),
    links=st.lists(LINKS, max_size=6),
)
def test_random_chains(shape, links):
    import keras

    with without_memory():
        inputs = x = keras.Input(shape)
        for link in links:
            options = {name: value for name, value in link.items() if name != "kind"}
            try:
                x = getattr(keras.layers, link["kind"])(**options)(x)
            except ValueError:  # the window does not fit
                break
        model = keras.Model(inputs, x)
        found = model_shapes(config_of(model))
        assert not unequal(model, found)
    assert not unknown(found)


PROFILED = {
    "conv": (lambda k: k.Conv2D(8, 3), (12, 12, 4)),
    "conv-same": (lambda k: k.Conv2D(8, 3, strides=2, padding="same", use_bias=False), (9, 8, 3)),
    "conv1d": (lambda k: k.Conv1D(8, 3), (12, 4)),
    "conv3d": (lambda k: k.Conv3D(6, 2), (5, 5, 5, 2)),
    "depthwise": (lambda k: k.DepthwiseConv2D(3), (12, 12, 4)),
    "separable": (lambda k: k.SeparableConv2D(6, 3), (12, 12, 4)),
    "dense": (lambda k: k.Dense(5), (7,)),
    "dense-sequence": (lambda k: k.Dense(5), (3, 7)),
    "einsum": (lambda k: k.EinsumDense("abc,cd->abd", (None, 5)), (3, 7)),
    "maximum": (lambda k: k.MaxPooling2D(3, 2), (12, 12, 4)),
    "average": (lambda k: k.AveragePooling2D(2), (12, 12, 4)),
    "global": (lambda k: k.GlobalAveragePooling2D(), (12, 12, 4)),
    "rescaling": (lambda k: k.Rescaling(0.5, offset=1.0), (12, 4)),
    "softmax": (lambda k: k.Softmax(), (9,)),
}


@pytest.mark.parametrize("name", PROFILED)
def test_flops_are_those_of_tensorflow_s_profiler(name, keras):
    """Of others it knows none (batch normalization, ReLU) or wrong ones (groups, transposed)."""
    import tensorflow as tf

    build, shape = PROFILED[name]
    inputs = keras.Input(shape)
    model = keras.Model(inputs, build(keras.layers)(inputs))
    call = tf.function(lambda x: model(x, training=False))
    graph = call.get_concrete_function(tf.TensorSpec((1, *shape), "float32")).graph
    builder = tf.compat.v1.profiler.ProfileOptionBuilder
    options = builder(builder.float_operation()).with_empty_output().build()
    profiled = tf.compat.v1.profiler.profile(graph, options=options).total_float_ops
    assert model_shapes(config_of(model)).total == profiled


@pytest.mark.parametrize(("entry", "golden"), published_models())
def test_published_models(entry, golden):
    model = surgery.open(model_path(golden))
    if model.architecture is None or formats()["keras"].problems(model):
        pytest.skip("Keras cannot have it")
    config = formats()["keras"].prepared(model).architecture.config
    try:
        with symbolic_model(config) as theirs:
            if not hasattr(theirs, "operations") and not hasattr(theirs, "_functional"):
                pytest.skip("it is no graph of layers")
            found = model_shapes(config)
            assert not unequal(theirs, found)
    except SurgeryError as error:
        pytest.skip(str(error))
    assert unknown(found) == []
