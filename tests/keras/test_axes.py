"""Inputs, outputs and space of every kind of kernel, and what acts on whole channels of layers."""

import numpy as np
import pytest

import surgery
from surgery.errors import SelectorError
from surgery.weights.channels import axes, output_channels
from tests.keras.layers import single

# Every number of inputs, outputs and places is another one.
KINDS = {
    "Dense": (lambda k: k.Dense(5), (3,), "x", {"kernel": ([3], [5], [])}),
    "Conv1D": (lambda k: k.Conv1D(5, 2), (7, 3), "x", {"kernel": ([3], [5], [2])}),
    "Conv2D-groups": (
        lambda k: k.Conv2D(10, (2, 4), groups=2), (8, 8, 6), "x", {"kernel": ([3], [10], [2, 4])}),
    "Conv2DTranspose": (
        lambda k: k.Conv2DTranspose(5, (2, 4)), (8, 8, 3), "x",
        {"kernel": ([3], [5], [2, 4]), "bias": ([], [5], [])}),
    "Conv3DTranspose": (
        lambda k: k.Conv3DTranspose(5, 2), (4, 4, 4, 3), "x", {"kernel": ([3], [5], [2, 2, 2])}),
    "DepthwiseConv2D": (
        lambda k: k.DepthwiseConv2D((2, 4), depth_multiplier=5), (8, 8, 3), "x",
        {"kernel": ([3], [3, 5], [2, 4]), "bias": ([], [15], [])}),
    "SeparableConv2D": (
        lambda k: k.SeparableConv2D(7, (2, 4), depth_multiplier=5), (8, 8, 3), "x",
        {"depthwise_kernel": ([3], [3, 5], [2, 4]), "pointwise_kernel": ([15], [7], [1, 1]),
         "bias": ([], [7], [])}),
    "EinsumDense": (
        lambda k: k.EinsumDense("abc,cd->abd", (4, 5), bias_axes="bd"), (4, 3), "x",
        {"kernel": ([3], [5], []), "bias": ([], [5], [4])}),
    "EinsumDense-turned": (
        lambda k: k.EinsumDense("...x,yx->...y", 5, bias_axes="y"), (4, 3), "x",
        {"kernel": ([3], [5], []), "bias": ([], [5], [])}),
    "EinsumDense-two": (
        lambda k: k.EinsumDense("abc,bcde->ade", (5, 6)), (4, 3), "x",
        {"kernel": ([4, 3], [5, 6], [])}),
    "EinsumDense-each": (
        lambda k: k.EinsumDense("abc,bcd->abd", (4, 5)), (4, 3), "x",
        {"kernel": ([3], [5], [4])}),
    "Embedding": (lambda k: k.Embedding(5, 3), (4,), "x", {"embeddings": ([5], [3], [])}),
    "ReversibleEmbedding": (
        lambda k: k.ReversibleEmbedding(5, 3, tie_weights=False), (4,), "x",
        {"reverse_embeddings": ([3], [5], [])}),
    "MultiHeadAttention": (
        lambda k: k.MultiHeadAttention(2, 5, value_dim=7), (4, 3), "xx",
        {"query/kernel": ([3], [2, 5], []), "query/bias": ([], [2, 5], []),
         "value/kernel": ([3], [2, 7], []), "attention_output/kernel": ([2, 7], [3], []),
         "attention_output/bias": ([], [3], [])}),
    "MultiHeadAttention-shape": (
        lambda k: k.MultiHeadAttention(2, 5, output_shape=(4, 6)), (4, 3), "xx",
        {"attention_output/kernel": ([2, 5], [4, 6], []),
         "attention_output/bias": ([], [4, 6], [])}),
    "GroupQueryAttention": (
        lambda k: k.GroupQueryAttention(5, 4, 2), (4, 3), "xx",
        {"query/kernel": ([3], [4, 5], []), "key/kernel": ([3], [2, 5], []),
         "attention_output/kernel": ([4, 5], [3], [])}),
    "LSTM": (
        lambda k: k.LSTM(5), (4, 3), "x",
        {"kernel": ([3], [20], []), "recurrent_kernel": ([5], [20], []), "bias": ([], [20], [])}),
    "GRU": (
        lambda k: k.GRU(5), (4, 3), "x", {"kernel": ([3], [15], []), "bias": ([], [15], [2])}),
    "SimpleRNN": (lambda k: k.SimpleRNN(5), (4, 3), "x", {"recurrent_kernel": ([5], [5], [])}),
    "ConvLSTM2D": (
        lambda k: k.ConvLSTM2D(5, (2, 4)), (2, 8, 8, 3), "x",
        {"kernel": ([3], [20], [2, 4]), "recurrent_kernel": ([5], [20], [2, 4])}),
    "BatchNormalization": (
        lambda k: k.BatchNormalization(), (4, 3), "x",
        {"gamma": ([], [3], []), "moving_variance": ([], [3], [])}),
    "LayerNormalization": (
        lambda k: k.LayerNormalization(axis=[1, 2]), (4, 3), "x", {"gamma": ([], [3], [4])}),
    "PReLU": (lambda k: k.PReLU(), (4, 3), "x", {"alpha": ([], [3], [4])}),
}  # fmt: skip
CHANNELS = {"LSTM": 5, "GRU": 5, "SimpleRNN": 5, "ConvLSTM2D": 5, "DepthwiseConv2D": 15,
            "MultiHeadAttention-shape": 24}  # fmt: skip


def opened(keras, name, path):
    make, shape, calls, _ = KINDS[name]
    keras.utils.set_random_seed(1)
    single(keras, make(keras.layers), shape, calls).save(path)
    return surgery.open(path)


@pytest.mark.parametrize("form", ["keras", "h5"])
@pytest.mark.parametrize("name", KINDS)
def test_axes(name, form, keras, tmp_path):
    model = opened(keras, name, tmp_path / f"m.{form}")
    for variable, expected in KINDS[name][3].items():
        (weight,) = [w for w in model.weights if w.address.endswith(f"/{variable}")]
        found, shape = axes(model, weight), weight.tensor.shape
        parts = found.inputs, found.outputs, found.spatial
        assert tuple([shape[axis] for axis in part] for part in parts) == expected
        if name in CHANNELS and not variable.startswith("query"):
            assert output_channels(model, weight).count == CHANNELS[name]


TWO_OF_FOUR = {
    "Dense": (lambda k: k.Dense(5), (8,), "x", {"kernel": 0}),
    "Conv2D": (lambda k: k.Conv2D(5, 3), (6, 6, 8), "x", {"kernel": 2}),
    "Conv2DTranspose": (lambda k: k.Conv2DTranspose(5, 3), (6, 6, 8), "x", {"kernel": 3}),
    "DepthwiseConv2D": (lambda k: k.DepthwiseConv2D(3, 3), (6, 6, 8), "x", {"kernel": 2}),
    "MultiHeadAttention": (
        lambda k: k.MultiHeadAttention(2, 6), (4, 8), "xx", {"query/kernel": 0}),
    "EinsumDense": (
        lambda k: k.EinsumDense("ab,cb->ac", 5), (8,), "x", {"kernel": 1}),
    "LSTM": (lambda k: k.LSTM(8), (4, 8), "x", {"kernel": 0, "recurrent_kernel": 0}),
}  # fmt: skip


@pytest.mark.parametrize("name", TWO_OF_FOUR)
def test_two_of_four_lie_along_the_inputs(name, keras, tmp_path):
    make, shape, calls, kernels = TWO_OF_FOUR[name]
    single(keras, make(keras.layers), shape, calls).save(tmp_path / "m.keras")
    model = surgery.open(tmp_path / "m.keras")
    for variable, axis in kernels.items():
        found = surgery.zero(model, f"**/{variable}", n_of_m="2:4")
        (address,) = [w.address for w in model.weights if w.address.endswith(f"/{variable}")]
        after = np.moveaxis(found[address].tensor.numpy(), axis, -1)
        before = np.moveaxis(model[address].tensor.numpy(), axis, -1)
        groups = np.abs(before.reshape(-1, 4))
        kept = groups >= np.sort(groups, axis=1)[:, 2:3]
        np.testing.assert_array_equal(after.reshape(-1, 4) != 0, kept)


def test_a_bias_has_no_inputs(keras, tmp_path):
    model = opened(keras, "GRU", tmp_path / "m.keras")
    with pytest.raises(SelectorError, match=r"bias is \[2, 15\]: it has no inputs"):
        surgery.zero(model, "**/bias", n_of_m="1:2")


def functional(keras):
    layers = keras.layers
    inputs = keras.Input((6, 6, 3), name="image")
    x = layers.Conv2D(8, 3, name="conv", use_bias=True)(inputs)
    y = layers.BatchNormalization(name="norm")(x)
    z = layers.SeparableConv2D(8, 3, name="sep")(layers.ReLU(name="relu")(y))
    z = layers.BatchNormalization(name="norm2", scale=False)(z)
    return keras.Model(inputs, [y, z])


def sequential(keras):
    layers = keras.layers
    inner = [keras.Input((6, 6, 3)), layers.Conv2D(8, 3, name="conv"),
             layers.BatchNormalization(name="norm")]  # fmt: skip
    nested = keras.Sequential(inner, name="nested")
    inputs = keras.Input((6, 6, 3))
    return keras.Model(inputs, nested(inputs))


def randomized(keras, make):
    keras.utils.set_random_seed(3)
    model = make(keras)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.random(weight.shape).astype("float32") + 0.5)
    return model


@pytest.mark.parametrize("form", ["keras", "h5"])
@pytest.mark.parametrize("make", [functional, sequential])
def test_a_channel_with_its_norm_is_switched_off(make, form, keras, tmp_path):
    """In the real Keras it gives nothing, and the others give what they gave."""
    theirs = randomized(keras, make)
    theirs.save(tmp_path / f"m.{form}")
    model = surgery.open(tmp_path / f"m.{form}")
    select = {"type": ["Conv2D", "SeparableConv2D"], "variable": ["kernel", "pointwise_kernel"]}
    changed = surgery.zero(model, select, channels="50%", with_norm=True)
    surgery.save(changed, **{form: tmp_path / f"o.{form}"})
    x = np.random.default_rng(1).random((2, 6, 6, 3)).astype("float32")
    old, new = (loaded(keras, tmp_path / f"{name}.{form}")(x) for name in "mo")
    for before, after in zip(*map(as_list, (old, new)), strict=True):
        is_off = ~after.numpy().reshape(-1, 8).any(0)
        assert is_off.sum() == 4
        if after is as_list(new)[0]:
            kept = after.numpy()[..., ~is_off]
            np.testing.assert_allclose(kept, before.numpy()[..., ~is_off], atol=1e-5)
    kernel = next(w for w in theirs.weights if w.path.endswith("conv/kernel")).numpy()
    norms = np.sqrt((kernel.astype(float) ** 2).sum((0, 1, 2)))
    gone = np.sort(np.argsort(norms)[:4])
    for weight in changed.weights:
        if weight.layer.endswith(("conv", "norm")) and not weight.variable.startswith("moving"):
            values = weight.tensor.numpy().reshape(-1, 8)
            np.testing.assert_array_equal(np.flatnonzero(~values.any(0)), gone)


def as_list(outputs):
    return outputs if isinstance(outputs, list) else [outputs]


def loaded(keras, path):
    return keras.models.load_model(path, compile=False)


def test_a_whole_layer_loses_the_same_channels(keras, tmp_path):
    """The units of an LSTM are those of its four gates and of both kernels."""
    make, shape, calls, _ = KINDS["LSTM"]
    model = single(keras, make(keras.layers), shape, calls)
    model.save(tmp_path / "m.keras")
    ours = surgery.open(tmp_path / "m.keras")
    changed = surgery.zero(ours, "**", channels="40%")
    kernel, recurrent, bias = (w.tensor.numpy().reshape(-1, 4, 5) for w in changed.weights)
    squares = sum((w.tensor.numpy().astype(float) ** 2).reshape(-1, 4, 5).sum((0, 1))
                  for w in ours.weights[:2])  # fmt: skip
    gone = np.argsort(squares)[:2]
    for values in (kernel, recurrent, bias):
        assert not values[..., gone].any()
    kept = np.setdiff1d(np.arange(5), gone)
    assert kernel[..., kept].all()
    surgery.save(changed, keras=tmp_path / "o.keras")
    x = np.ones((2, *shape), "float32")
    assert not loaded(keras, tmp_path / "o.keras")(x).numpy()[:, gone].any()


def test_what_belongs_to_no_kernel_is_refused(keras, tmp_path):
    randomized(keras, functional).save(tmp_path / "m.keras")
    model = surgery.open(tmp_path / "m.keras")
    with pytest.raises(SelectorError, match="norm/gamma has no kernel"):
        surgery.zero(model, "norm", channels="50%")
    with pytest.raises(SelectorError, match="no BatchNormalization directly follows"):
        surgery.zero(model, "sep/depthwise_kernel", channels="50%", with_norm=True)
