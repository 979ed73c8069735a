"""The FLOPs of a call, by hand: a multiplication and an addition are two, a bias is one."""

import random

import pytest

from surgery.architecture.shapes import LAYERS, OPERATIONS, flops, model_shapes, output_shapes
from tests.architecture import calls
from tests.architecture.calls import layer

LSTM = 4 * 5 * (2 * (3 + 5) + 1)  # of one step: four gates of five units read three and five
CONV = {"filters": 6, "kernel_size": 3}
STATE = 4 * 3 * 6  # of a ConvLSTM2D with six filters of 3x3 on 6x5

KERNELS = [
    ("Dense", {"units": 5}, [(1, 7)], 5 * (2 * 7 + 1)),
    ("Dense", {"units": 5, "use_bias": False}, [(1, 4, 7)], 4 * 5 * 2 * 7),
    ("Dense", {"units": 5}, [(3, 7)], 3 * 5 * (2 * 7 + 1)),
    ("EinsumDense", {"equation": "abc,cd->abd", "output_shape": [None, 5]}, [(1, 7, 3)],
     7 * 5 * 2 * 3),
    ("EinsumDense", {"equation": "abc,bcde->ade", "output_shape": [5, 6]}, [(1, 4, 3)],
     5 * 6 * 2 * 4 * 3),
    ("EinsumDense", {"equation": "...x,xy->...y", "output_shape": 5, "bias_axes": "y"},
     [(1, 2, 7, 3)], 2 * 7 * 5 * (2 * 3 + 1)),
    ("EinsumDense", {"equation": "ab...,bc->ac...", "output_shape": 5}, [(1, 7, 6, 3)],
     5 * 6 * 3 * 2 * 7),
    ("Conv1D", CONV, [(1, 8, 4)], 6 * 6 * (2 * 3 * 4 + 1)),
    ("Conv2D", CONV, [(1, 8, 7, 4)], 6 * 5 * 6 * (2 * 9 * 4 + 1)),
    ("Conv2D", {**CONV, "data_format": "channels_first"}, [(1, 4, 8, 7)],
     6 * 5 * 6 * (2 * 9 * 4 + 1)),
    ("Conv2D", {**CONV, "strides": 2, "padding": "same", "use_bias": False}, [(1, 8, 7, 4)],
     4 * 4 * 6 * 2 * 9 * 4),
    ("Conv2D", {**CONV, "groups": 2}, [(1, 8, 7, 4)], 6 * 5 * 6 * (2 * 9 * 2 + 1)),
    ("Conv2D", {**CONV, "dilation_rate": 2}, [(1, 8, 7, 4)], 4 * 3 * 6 * (2 * 9 * 4 + 1)),
    ("Conv3D", {**CONV, "kernel_size": [1, 2, 3]}, [(1, 5, 5, 5, 2)],
     5 * 4 * 3 * 6 * (2 * 6 * 2 + 1)),
    ("DepthwiseConv1D", {"kernel_size": 3, "depth_multiplier": 2}, [(1, 8, 4)],
     6 * 8 * (2 * 3 + 1)),
    ("DepthwiseConv2D", {"kernel_size": [3, 2]}, [(1, 8, 7, 4)], 6 * 6 * 4 * (2 * 6 + 1)),
    ("SeparableConv1D", {**CONV, "depth_multiplier": 2}, [(1, 8, 4)],
     6 * 8 * 2 * 3 + 6 * 6 * (2 * 8 + 1)),
    ("SeparableConv2D", {**CONV, "use_bias": False}, [(1, 8, 7, 4)],
     6 * 5 * 4 * 2 * 9 + 6 * 5 * 6 * 2 * 4),
    ("Conv1DTranspose", {**CONV, "strides": 2}, [(1, 8, 4)], 8 * 4 * 2 * 3 * 6 + 17 * 6),
    ("Conv2DTranspose", CONV, [(1, 8, 7, 4)], 8 * 7 * 4 * 2 * 9 * 6 + 10 * 9 * 6),
    ("Conv3DTranspose", {**CONV, "use_bias": False}, [(1, 3, 3, 3, 2)], 27 * 2 * 2 * 27 * 6),
    ("LSTM", {"units": 5}, [(1, 7, 3)], 7 * LSTM),
    ("LSTM", {"units": 5, "return_sequences": True, "return_state": True}, [(1, 7, 3)], 7 * LSTM),
    ("LSTM", {"units": 5, "use_bias": False}, [(1, 7, 3)], 7 * 4 * 5 * 2 * (3 + 5)),
    ("GRU", {"units": 5, "reset_after": True}, [(1, 7, 3)], 7 * 3 * 5 * (2 * (3 + 5) + 2)),
    ("GRU", {"units": 5, "reset_after": False}, [(1, 7, 3)], 7 * 3 * 5 * (2 * (3 + 5) + 1)),
    ("SimpleRNN", {"units": 5}, [(1, 7, 3)], 7 * 5 * (2 * (3 + 5) + 1)),
    ("RNN", {"cell": layer("LSTMCell", units=5)}, [(1, 7, 3)], 7 * LSTM),
    ("RNN", {"cell": layer("StackedRNNCells", cells=[
        layer("LSTMCell", units=5), layer("SimpleRNNCell", units=2)])}, [(1, 7, 3)],
     7 * (LSTM + 2 * (2 * (5 + 2) + 1))),
    ("LSTMCell", {"units": 5}, [(1, 3), [(1, 5), (1, 5)]], LSTM),
    ("ConvLSTM1D", CONV, [(1, 7, 5, 2)], 7 * 4 * 3 * 6 * (2 * 3 * (2 + 6) + 1)),
    ("ConvLSTM2D", CONV, [(1, 7, 6, 5, 2)], 7 * 4 * STATE * (2 * 9 * (2 + 6) + 1)),
    ("Bidirectional", {"layer": layer("LSTM", units=5)}, [(1, 7, 3)], 2 * 7 * LSTM),
    ("Bidirectional", {"layer": layer("LSTM", units=5),
                       "backward_layer": layer("SimpleRNN", units=2)}, [(1, 7, 3)],
     7 * LSTM + 7 * 2 * (2 * (3 + 2) + 1)),
    ("TimeDistributed", {"layer": layer("Conv2D", **CONV)}, [(1, 9, 8, 7, 4)],
     9 * 6 * 5 * 6 * (2 * 9 * 4 + 1)),
    ("SpectralNormalization", {"layer": layer("Dense", units=5)}, [(1, 7)], 5 * (2 * 7 + 1)),
    ("Embedding", {"input_dim": 9, "output_dim": 4}, [(1, 7)], 0),
    ("ReversibleEmbedding", {"input_dim": 9, "output_dim": 4}, [(1, 7)], 0),
    ("Dot", {"axes": [2, 1]}, [[(1, 4, 5), (1, 5, 7)]], 4 * 7 * 2 * 5),
    # Two heads: queries and keys of three, values of five; six queries of eight, nine values.
    ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3, "value_dim": 5, "use_bias": False},
     [(1, 6, 8), (1, 9, 4)],
     2 * (6 * 8 * 6 + 9 * 4 * 6 + 9 * 4 * 10 + 6 * 9 * 6 + 6 * 9 * 10 + 6 * 10 * 8)),
    ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3}, [(1, 6, 8), (1, 6, 8)],
     2 * (3 * 6 * 8 * 6 + 2 * 6 * 6 * 6 + 6 * 6 * 8) + 6 * (6 + 6 + 6 + 8)),
    ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3, "output_shape": 7, "use_gate": True,
                            "use_bias": False}, [(1, 6, 8), (1, 6, 8)],
     2 * (4 * 6 * 8 * 6 + 2 * 6 * 6 * 6 + 6 * 6 * 7)),
    ("GroupQueryAttention", {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2,
                             "use_bias": False}, [(1, 6, 8), (1, 9, 8)],
     2 * (6 * 8 * 12 + 2 * 9 * 8 * 6 + 2 * 6 * 9 * 12 + 6 * 12 * 8)),
    ("Attention", {}, [[(1, 6, 8), (1, 9, 5), (1, 9, 8)]], 2 * (6 * 9 * 8 + 6 * 9 * 5)),
    ("AdditiveAttention", {"use_scale": False}, [[(1, 6, 8), (1, 9, 8)]],
     6 * 9 * (2 * 8 + 2 * 8)),
]  # fmt: skip

OTHERS = [
    ("BatchNormalization", {}, [(1, 4, 5)], 2 * 20),
    ("LayerNormalization", {}, [(1, 4, 5)], 7 * 20),
    ("LayerNormalization", {"scale": False, "center": False}, [(1, 4, 5)], 5 * 20),
    ("Rescaling", {"scale": 2.0}, [(1, 4, 5)], 2 * 20),
    ("ReLU", {}, [(1, 4, 5)], 20),
    ("Activation", {"activation": "softmax"}, [(1, 4, 5)], 5 * 20),
    ("Activation", {"activation": "linear"}, [(1, 4, 5)], 0),
    ("Softmax", {}, [(1, 4, 5)], 5 * 20),
    ("Dropout", {"rate": 0.5}, [(1, 4, 5)], 0),
    ("RandomFlip", {}, [(1, 4, 5, 3)], 0),
    ("Reshape", {"target_shape": [20]}, [(1, 4, 5)], 0),
    ("UpSampling2D", {}, [(1, 4, 5, 3)], 0),
    ("UpSampling2D", {"interpolation": "bilinear"}, [(1, 4, 5, 3)], None),
    ("Add", {}, [[(1, 4, 5), (1, 4, 5), (1, 1, 5)]], 2 * 20),
    ("Average", {}, [[(1, 4), (1, 4)]], 2 * 4),
    ("Concatenate", {}, [[(1, 4), (1, 4)]], 0),
    ("MaxPooling2D", {"pool_size": 3, "strides": 2}, [(1, 9, 7, 4)], 4 * 3 * 4 * 9),
    ("GlobalAveragePooling2D", {}, [(1, 9, 7, 4)], 9 * 7 * 4),
    ("AdaptiveMaxPooling1D", {"output_size": 3}, [(1, 9, 4)], 9 * 4),
    # Windows of 7 in 3: [0, 3), [2, 5), [4, 7).
    ("AdaptiveMaxPooling1D", {"output_size": 3}, [(1, 7, 4)], 9 * 4),
    ("Pipeline", {"layers": [layer("RandomFlip"), layer("Rescaling", scale=0.5)]},
     [(1, 9, 8, 3)], 2 * 9 * 8 * 3),
    ("Resizing", {"height": 3, "width": 2}, [(1, 9, 8, 3)], None),
]  # fmt: skip

BY_OPERATIONS = [
    ("Matmul", {}, [(1, 3, 4), (4, 5)], 3 * 5 * 2 * 4),
    ("Matmul", {}, [(1, 2, 3, 4), (1, 2, 4, 5)], 2 * 3 * 5 * 2 * 4),
    ("Matmul", {}, [(3, 4), (4,)], 3 * 2 * 4),
    ("Dot", {}, [(3, 4), (4, 5)], 3 * 5 * 2 * 4),
    ("Tensordot", {"axes": 2}, [(2, 3, 4), (3, 4, 5)], 2 * 5 * 2 * 12),
    ("Tensordot", {"axes": [[1], [0]]}, [(1, 4, 6), (4, 5)], 6 * 5 * 2 * 4),
    ("Einsum", {"subscripts": "abc,cd->abd"}, [(1, 3, 4), (4, 5)], 3 * 5 * 2 * 4),
    ("Einsum", {"subscripts": "bqhd,bkhd->bhqk"}, [(1, 6, 2, 4), (1, 7, 2, 4)], 2 * 6 * 7 * 2 * 4),
    ("Conv", {"strides": 2}, [(1, 9, 8, 4), (3, 2, 4, 6)], 4 * 4 * 6 * 2 * 24),
    ("Conv", {}, [(1, 9, 8, 4), (3, 2, 2, 6)], 7 * 7 * 6 * 2 * 12),  # in two groups
    ("DepthwiseConv", {}, [(1, 9, 8, 4), (3, 2, 4, 2)], 7 * 7 * 8 * 2 * 6),
    ("SeparableConv", {}, [(1, 9, 8, 4), (3, 2, 4, 2), (1, 1, 8, 5)],
     7 * 7 * (8 * 2 * 6 + 5 * 2 * 8)),
    ("ConvTranspose", {}, [(1, 9, 8, 4), (3, 2, 6, 4)], 9 * 8 * 4 * 2 * 6 * 6),
    ("DotProductAttention", {}, [(1, 6, 2, 4), (1, 7, 2, 4), (1, 7, 2, 4)],
     2 * 2 * 6 * 7 * 2 * 4),
    ("Add", {}, [(1, 4, 5), (5,)], 20),
    ("Relu", {}, [(1, 4)], 4),
    ("Softmax", {}, [(1, 4)], 5 * 4),
    ("Mean", {"axis": 1}, [(1, 4, 5)], 20),
    ("Reshape", {"newshape": [1, 20]}, [(1, 4, 5)], 0),
    ("Split", {"indices_or_sections": 2, "axis": 1}, [(1, 4)], 0),
    ("Sort", {}, [(1, 4)], None),
]  # fmt: skip


def cost(entry, args):
    return flops(entry, args, {}, output_shapes(entry, args, {}))


@pytest.mark.parametrize(("name", "config", "args", "expected"), KERNELS + OTHERS)
def test_flops_of_layers(name, config, args, expected):
    assert cost(layer(name, **config), args) == expected


@pytest.mark.parametrize(("name", "config", "args", "expected"), BY_OPERATIONS)
def test_flops_of_operations(name, config, args, expected):
    entry = {**layer(name, **config), "module": "keras.src.ops.numpy"}
    assert cost(entry, args) == expected


def test_an_open_size_is_no_number():
    for name, config, args, expected in KERNELS:
        if expected:
            opened = [
                (1, None, *shape[2:]) if isinstance(shape, tuple) else None for shape in args[:1]
            ]
            if opened[0] is not None and name not in ("EinsumDense", "LSTMCell"):
                assert cost(layer(name, **config), [*opened, *args[1:]]) is None, name


def test_all_that_has_a_cost_has_a_shape():
    for rules in (LAYERS, OPERATIONS):
        assert set(rules.costs) <= set(rules.shapes)


@pytest.mark.parametrize(
    "entry",
    [
        layer("Conv2D"),
        layer("Conv2D", filters="x", kernel_size=3),
        layer("Conv2D", filters=3, kernel_size=[1, 2, 3]),
        layer("Reshape", target_shape="ab"),
        layer("Permute", dims=[9]),
        layer("TimeDistributed", layer=7),
        layer("RNN", cell=None),
        layer("MaxPooling2D", pool_size=2, border_mode="same"),  # of Keras 1
        layer("LSTM", units=3, time_major=True),  # of Keras 2
        {"class_name": "Dense"},
        {"class_name": "Dense", "config": [1]},
        {"class_name": "Split", "module": "keras.src.ops.numpy",
         "config": {"indices_or_sections": 1 << 40}},
        {"class_name": "Custom>Dense", "config": {"units": 3}},
        {"class_name": "Dense", "module": "my.layers", "config": {"units": 3}},
        {"class_name": "Dense", "registered_name": "my>Dense", "config": {"units": 3}},
    ],
)  # fmt: skip
def test_what_is_no_layer_of_keras_is_unknown(entry):
    for args in ([(1, 8, 8, 3)], [], [None], [[(1, 2)]], [3]):
        assert output_shapes(entry, args, {}) is None
        assert flops(entry, args, {}, None) is None


ODD = [
    None, -1, 0, 2.5, "same", [], [1], [[1, 2], [3, 4]], {}, layer("Dense", units=3), True, 10**12,
    [10**12, 10**9], "channels_first",
]  # fmt: skip


@pytest.mark.parametrize("name", ["LAYERS", "OPERATIONS"])
def test_a_damaged_config_is_no_error(name):
    """It is unknown, at once, and without memory for what it asks for."""
    draw = random.Random(0)
    module = "keras.layers" if name == "LAYERS" else "keras.src.ops.numpy"
    for class_name, rows in getattr(calls, name).items():
        for _ in range(30):
            config, args, *_ = draw.choice(rows)
            config = {key: draw.choice([value, draw.choice(ODD)]) for key, value in config.items()}
            config[draw.choice(["axis", "strides", "data_format", "return_state"])] = draw.choice(
                ODD
            )
            args = [draw.choice([value, value, draw.choice(ODD)]) for value in args]
            entry = {**layer(class_name, **config), "module": module}
            outputs = output_shapes(entry, args, {})
            assert isinstance(flops(entry, args, {}, outputs), int | None)


def test_a_tower_of_models_that_are_called_twice():
    """Each is looked at once, though its innermost one is called a million times."""
    inner = layer("Dense", units=3, name="d")
    for _ in range(20):
        inner = model_of_two_calls(inner)
    found = model_shapes(inner)
    assert found.total == 2**20 * 3 * (2 * 3 + 1)
    assert found.outputs == (None, 3)


def model_of_two_calls(inner):
    def tensor(name, call):
        config = {"keras_history": [name, call, 0], "shape": [None, 3], "dtype": "float32"}
        return {"class_name": "__keras_tensor__", "config": config}

    name = inner["config"]["name"]
    counts_itself = inner["class_name"] == "Functional"
    first = {**layer("InputLayer", name="i", batch_shape=[None, 3]), "name": "i"}
    nodes = [{"args": [tensor("i", 0)], "kwargs": {}}, {"args": [tensor(name, 0)], "kwargs": {}}]
    return {
        "class_name": "Functional",
        "config": {
            "name": f"{name}o",
            "layers": [
                {**first, "inbound_nodes": []},
                {**inner, "name": name, "inbound_nodes": nodes},
            ],
            "input_layers": ["i", 0, 0],
            "output_layers": [name, 1 + counts_itself, 0],
        },
    }
