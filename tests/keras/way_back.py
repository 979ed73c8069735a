"""Models of Keras 3 of every kind that Keras 2 has too, written for it and loaded by it.

`python -m tests.keras.way_back PYTHON...`, each with a TensorFlow between 2.12 and 2.15, writes
the table of what each of them and tf_keras makes of these into docs/old-keras.md.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

PAGE = Path(__file__).parents[2] / "docs/old-keras.md"
BEGIN, END = "<!-- back: begin -->\n", "<!-- back: end -->"
SEQUENCE, IMAGE, FLAT, VOLUME = (5, 4), (6, 6, 4), (4,), (4, 4, 4, 2)


def kinds(keras):
    """By name: a function that builds a model."""
    made = {**layers(keras), **calls(keras), **models(keras), **operations(keras)}
    return {name: lambda f=f: with_weights(keras, f()) for name, f in made.items()}


def with_weights(keras, model):
    """The model, with one more output where it has no weights: such a model is not written."""
    if model.weights:
        return model
    more = keras.layers.Dense(2, name="more")(model.outputs[0])
    return keras.Model(model.inputs, [*model.outputs, more])


def layers(keras):
    L = keras.layers  # noqa: N806
    regularized = {"kernel_regularizer": keras.regularizers.L1L2(0.1, 0.2),
                   "bias_constraint": keras.constraints.MaxNorm(2),
                   "kernel_initializer": keras.initializers.VarianceScaling(2.0)}  # fmt: skip
    of_one = {
        "Dense": (lambda: L.Dense(3, activation="gelu", **regularized), FLAT),
        "Dense, activity_regularizer": (lambda: L.Dense(3, activity_regularizer="l2"), FLAT),
        "EinsumDense": (lambda: L.EinsumDense("abc,cd->abd", (None, 5), bias_axes="d"), SEQUENCE),
        "Conv1D": (lambda: L.Conv1D(3, 2, padding="causal", dilation_rate=2), SEQUENCE),
        "Conv2D": (lambda: L.Conv2D(4, 2, strides=2, padding="same", groups=2), IMAGE),
        "Conv3D": (lambda: L.Conv3D(3, 2, use_bias=False), VOLUME),
        "Conv1DTranspose": (lambda: L.Conv1DTranspose(3, 2, strides=2), SEQUENCE),
        "Conv2DTranspose": (
            lambda: L.Conv2DTranspose(3, 3, strides=2, padding="same", output_padding=1), IMAGE),
        "Conv3DTranspose": (lambda: L.Conv3DTranspose(3, 2), VOLUME),
        "DepthwiseConv1D": (lambda: L.DepthwiseConv1D(2, depth_multiplier=2), SEQUENCE),
        "DepthwiseConv2D": (lambda: L.DepthwiseConv2D(2), IMAGE),
        "SeparableConv1D": (lambda: L.SeparableConv1D(3, 2), SEQUENCE),
        "SeparableConv2D": (lambda: L.SeparableConv2D(3, 2, use_bias=False), IMAGE),
        "BatchNormalization": (lambda: L.BatchNormalization(), IMAGE),
        "BatchNormalization, axis 1": (lambda: L.BatchNormalization(axis=1, scale=False), IMAGE),
        "BatchNormalization, frozen": (lambda: L.BatchNormalization(trainable=False), FLAT),
        "LayerNormalization": (lambda: L.LayerNormalization(axis=[1, 2]), SEQUENCE),
        "GroupNormalization": (lambda: L.GroupNormalization(2), IMAGE),
        "UnitNormalization": (lambda: L.UnitNormalization(), FLAT),
        "Normalization": (lambda: L.Normalization(), FLAT),
        "Normalization, given": (
            lambda: L.Normalization(mean=[1.0, 2, 3, 4], variance=[2.0] * 4, invert=True), FLAT),
        "PReLU": (lambda: L.PReLU(shared_axes=[1]), SEQUENCE),
        "LeakyReLU": (lambda: L.LeakyReLU(negative_slope=0.2), FLAT),
        "ELU": (lambda: L.ELU(0.7), FLAT),
        "ReLU": (lambda: L.ReLU(6, negative_slope=0.1, threshold=0.5), FLAT),
        "Softmax": (lambda: L.Softmax(axis=1), SEQUENCE),
        "ActivityRegularization": (lambda: L.ActivityRegularization(0.1), FLAT),
        "Embedding": (lambda: L.Embedding(5, 3), FLAT),
        "LSTM": (lambda: L.LSTM(3, dropout=0.1, recurrent_dropout=0.1), SEQUENCE),
        "LSTM, hard_sigmoid": (lambda: L.LSTM(3, recurrent_activation="hard_sigmoid"), SEQUENCE),
        "GRU": (lambda: L.GRU(3, return_sequences=True), SEQUENCE),
        "GRU, hard_sigmoid": (lambda: L.GRU(3, recurrent_activation="hard_sigmoid"), SEQUENCE),
        "GRU, reset_after: false": (
            lambda: L.GRU(3, reset_after=False, recurrent_activation="hard_sigmoid"), SEQUENCE),
        "SimpleRNN": (lambda: L.SimpleRNN(3, go_backwards=True), SEQUENCE),
        "RNN": (lambda: L.RNN(L.GRUCell(3)), SEQUENCE),
        "RNN, hard_sigmoid": (
            lambda: L.RNN(L.LSTMCell(3, recurrent_activation="hard_sigmoid")), SEQUENCE),
        "StackedRNNCells": (
            lambda: L.RNN([L.LSTMCell(3), L.GRUCell(2), L.SimpleRNNCell(3)]), SEQUENCE),
        "ConvLSTM1D": (lambda: L.ConvLSTM1D(3, 2), (3, 6, 4)),
        "ConvLSTM2D": (
            lambda: L.ConvLSTM2D(3, 2, recurrent_activation="hard_sigmoid"), (3, 6, 6, 4)),
        "ConvLSTM3D": (lambda: L.ConvLSTM3D(2, 2), (3, 4, 4, 4, 2)),
        "Bidirectional": (
            lambda: L.Bidirectional(L.LSTM(3, recurrent_activation="hard_sigmoid")), SEQUENCE),
        "Bidirectional, backward_layer": (
            lambda: L.Bidirectional(L.LSTM(3, name="ahead"), merge_mode="sum",
                                    backward_layer=L.LSTM(3, go_backwards=True)), SEQUENCE),
        "TimeDistributed": (lambda: L.TimeDistributed(L.Dense(3)), SEQUENCE),
        "TimeDistributed, of a model": (
            lambda: L.TimeDistributed(
                keras.Sequential([keras.Input((4,)), L.Dense(3), L.Dense(3)])), SEQUENCE),
        "TimeDistributed, Bidirectional": (
            lambda: L.TimeDistributed(L.Bidirectional(L.GRU(2))), (3, 5, 4)),
        "AveragePooling1D": (lambda: L.AveragePooling1D(2), SEQUENCE),
        "AveragePooling2D": (lambda: L.AveragePooling2D(2, strides=1, padding="same"), IMAGE),
        "AveragePooling3D": (lambda: L.AveragePooling3D(2), VOLUME),
        "MaxPooling1D": (lambda: L.MaxPooling1D(2), SEQUENCE),
        "MaxPooling2D": (lambda: L.MaxPooling2D(2), IMAGE),
        "MaxPooling3D": (lambda: L.MaxPooling3D(2), VOLUME),
        "GlobalAveragePooling1D": (lambda: L.GlobalAveragePooling1D(), SEQUENCE),
        "GlobalAveragePooling2D": (lambda: L.GlobalAveragePooling2D(keepdims=True), IMAGE),
        "GlobalAveragePooling3D": (lambda: L.GlobalAveragePooling3D(), VOLUME),
        "GlobalMaxPooling1D": (lambda: L.GlobalMaxPooling1D(), SEQUENCE),
        "GlobalMaxPooling2D": (lambda: L.GlobalMaxPooling2D(), IMAGE),
        "GlobalMaxPooling3D": (lambda: L.GlobalMaxPooling3D(), VOLUME),
        "Cropping1D": (lambda: L.Cropping1D(1), SEQUENCE),
        "Cropping2D": (lambda: L.Cropping2D(((1, 0), (2, 1))), IMAGE),
        "Cropping3D": (lambda: L.Cropping3D(1), VOLUME),
        "ZeroPadding1D": (lambda: L.ZeroPadding1D((1, 2)), SEQUENCE),
        "ZeroPadding2D": (lambda: L.ZeroPadding2D(((1, 0), (2, 1))), IMAGE),
        "ZeroPadding3D": (lambda: L.ZeroPadding3D(1), VOLUME),
        "UpSampling1D": (lambda: L.UpSampling1D(2), SEQUENCE),
        "UpSampling2D": (lambda: L.UpSampling2D(2, interpolation="bilinear"), IMAGE),
        "UpSampling3D": (lambda: L.UpSampling3D(2), VOLUME),
        "Flatten": (lambda: L.Flatten(), IMAGE),
        "Reshape": (lambda: L.Reshape((-1, 2)), SEQUENCE),
        "Permute": (lambda: L.Permute((2, 1)), SEQUENCE),
        "RepeatVector": (lambda: L.RepeatVector(3), FLAT),
        "Dropout": (lambda: L.Dropout(0.5, noise_shape=(None, 1), seed=1), FLAT),
        "SpatialDropout1D": (lambda: L.SpatialDropout1D(0.5, seed=1), SEQUENCE),
        "SpatialDropout2D": (lambda: L.SpatialDropout2D(0.5), IMAGE),
        "SpatialDropout3D": (lambda: L.SpatialDropout3D(0.5), VOLUME),
        "AlphaDropout": (lambda: L.AlphaDropout(0.5), FLAT),
        "GaussianDropout": (lambda: L.GaussianDropout(0.5), FLAT),
        "GaussianNoise": (lambda: L.GaussianNoise(0.5), FLAT),
        "Identity": (lambda: L.Identity(), FLAT),
        "Rescaling": (lambda: L.Rescaling(0.5, offset=[1, 2, 3, 4]), IMAGE),
        "Resizing": (lambda: L.Resizing(9, 4), IMAGE),
        "CenterCrop": (lambda: L.CenterCrop(3, 4), IMAGE),
        "RandomBrightness": (lambda: L.RandomBrightness(0.5), IMAGE),
        "RandomContrast": (lambda: L.RandomContrast(0.5), IMAGE),
        "RandomFlip": (lambda: L.RandomFlip("horizontal"), IMAGE),
        "RandomRotation": (lambda: L.RandomRotation(0.5), IMAGE),
        "RandomTranslation": (lambda: L.RandomTranslation(0.5, 0.5), IMAGE),
        "RandomZoom": (lambda: L.RandomZoom((0.1, 0.5)), IMAGE),
        "Discretization": (lambda: L.Discretization([0.0, 1.0], output_mode="one_hot"), (1,)),
        "dtype mixed_float16": (lambda: L.Dense(3, dtype="mixed_float16"), FLAT),
        "dtype float64": (lambda: L.Dense(3, dtype="float64"), FLAT),
    }  # fmt: skip
    activations = ["elu", "exponential", "leaky_relu", "log_softmax", "relu", "relu6", "selu",
                   "sigmoid", "silu", "softmax", "softplus", "softsign", "tanh"]  # fmt: skip
    of_one |= {f"Activation {a}": (lambda a=a: L.Activation(a), FLAT) for a in activations}
    made = {name: lambda entry=entry: single(keras, *entry) for name, entry in of_one.items()}
    made |= {
        f"{name} of two": lambda name=name: merged(keras, getattr(L, name)())
        for name in ("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract")
    }
    made["Dot of two"] = lambda: merged(keras, L.Dot(2, normalize=True))
    return made


def single(keras, make, shape):
    inputs = keras.Input(shape)
    return keras.Model(inputs, make()(inputs))


def merged(keras, layer):
    one, two = keras.Input(SEQUENCE), keras.Input(SEQUENCE)
    return keras.Model([one, two], layer([one, two]))


def calls(keras):
    """Layers that are called with more than one tensor, and preprocessing of texts."""
    L = keras.layers  # noqa: N806
    made = {}

    def kind(name):
        return lambda make: made.setdefault(name, make)

    @kind("MultiHeadAttention")
    def _():
        x, y = keras.Input(SEQUENCE), keras.Input((3, 4))
        mixed = L.MultiHeadAttention(2, 3)(x, y)
        return keras.Model([x, y], L.MultiHeadAttention(2, 3, value_dim=2)(mixed, value=x, key=x))

    @kind("MultiHeadAttention, masks and scores")
    def _():
        x, mask = keras.Input(SEQUENCE), keras.Input((5, 5), dtype="bool")
        attention = L.MultiHeadAttention(2, 3, dropout=0.1, attention_axes=(1,))
        made, scores = attention(
            x, x, attention_mask=mask, use_causal_mask=True, return_attention_scores=True
        )
        return keras.Model([x, mask], [made, scores])

    @kind("MultiHeadAttention, frozen")
    def _():
        x = keras.Input(SEQUENCE)
        return keras.Model(x, L.MultiHeadAttention(2, 3, trainable=False)(x, x))

    @kind("Attention")
    def _():
        x, y = keras.Input(SEQUENCE), keras.Input((3, 4))
        return keras.Model([x, y], L.Attention(use_scale=True, score_mode="concat")([x, y]))

    @kind("AdditiveAttention")
    def _():
        x = keras.Input(SEQUENCE)
        return keras.Model(x, L.AdditiveAttention()([x, x], use_causal_mask=True))

    @kind("LSTM, initial_state and return_state")
    def _():
        x, h, c = keras.Input(SEQUENCE), keras.Input((3,)), keras.Input((3,))
        y, *states = L.LSTM(3, return_sequences=True, return_state=True)(x, initial_state=[h, c])
        return keras.Model([x, h, c], [L.GRU(3)(y, initial_state=states[0]), *states])

    @kind("Bidirectional, initial_state")
    def _():
        x, h = keras.Input(SEQUENCE), keras.Input((3,))
        return keras.Model([x, h], L.Bidirectional(L.GRU(3))(x, initial_state=[h, h]))

    @kind("Masking, mask_zero")
    def _():
        x = keras.Input(SEQUENCE)
        y = L.Bidirectional(L.LSTM(3))(L.Masking()(x))
        ids = keras.Input((5,), dtype="int32")
        z = L.GRU(3)(L.Embedding(5, 3, mask_zero=True)(ids))
        return keras.Model([x, ids], L.Concatenate()([y, z]))

    @kind("masks that are joined")
    def _():
        x, y = keras.Input(SEQUENCE), keras.Input(SEQUENCE)
        joined = L.Concatenate(axis=1)([L.Masking()(x), L.Masking()(y)])
        forth = L.Bidirectional(L.GRU(3, return_sequences=True))(joined)
        return keras.Model([x, y], L.LSTM(3)(L.Dropout(0.1)(L.LayerNormalization()(forth))))

    @kind("mask as an argument")
    def _():
        x, mask = keras.Input(SEQUENCE), keras.Input((5,), dtype="bool")
        return keras.Model([x, mask], L.LSTM(3)(x, mask=mask))

    @kind("BatchNormalization, training=False")
    def _():
        x = keras.Input(FLAT)
        return keras.Model(x, L.BatchNormalization()(x, training=False))

    @kind("StringLookup")
    def _():
        x = keras.Input((2,), dtype="string")
        return keras.Model(x, L.StringLookup(vocabulary=["a", "b"], output_mode="multi_hot")(x))

    @kind("StringLookup, adapted")
    def _():
        x = keras.Input((2,), dtype="string")
        layer = L.StringLookup()
        layer.adapt(np.array(["a", "b", "b"]))
        return keras.Model(x, L.Embedding(4, 3)(layer(x)))

    @kind("IntegerLookup, adapted")
    def _():
        x = keras.Input((2,), dtype="int64")
        layer = L.IntegerLookup(output_mode="count")
        layer.adapt(np.array([3, 4, 4]))
        return keras.Model(x, layer(x))

    @kind("TextVectorization, adapted")
    def _():
        x = keras.Input((1,), dtype="string")
        layer = L.TextVectorization(output_sequence_length=3)
        layer.adapt(np.array(["a b", "b c"]))
        return keras.Model(x, L.Embedding(5, 3)(layer(x)))

    @kind("TextVectorization, given")
    def _():
        x = keras.Input((1,), dtype="string")
        layer = L.TextVectorization(vocabulary=["a", "b"], output_mode="count")
        return keras.Model(x, layer(x))

    @kind("CategoryEncoding")
    def _():
        x = keras.Input(FLAT, dtype="int32")
        return keras.Model(x, L.CategoryEncoding(5, output_mode="multi_hot")(x))

    @kind("Hashing")
    def _():
        x = keras.Input((2,), dtype="string")
        return keras.Model(x, L.Embedding(4, 3)(L.Hashing(4)(x)))

    @kind("HashedCrossing")
    def _():
        x, y = keras.Input((1,), dtype="string"), keras.Input((1,), dtype="string")
        return keras.Model([x, y], L.HashedCrossing(4, output_mode="one_hot")([x, y]))

    return made


def models(keras):
    """Graphs."""
    L = keras.layers  # noqa: N806
    made = {}

    def kind(name):
        return lambda make: made.setdefault(name, make)

    def inner(**names):
        x = keras.Input(FLAT)
        y = L.BatchNormalization()(L.Dense(4)(x))
        return keras.Model(x, L.Dense(4)(y), **names)

    @kind("Sequential")
    def _():
        return keras.Sequential([keras.Input(IMAGE), L.Conv2D(3, 2), L.BatchNormalization(),
                                 L.ReLU(), L.Flatten(), L.Dense(2)])  # fmt: skip

    @kind("Sequential, built by a call")
    def _():
        model = keras.Sequential([L.Dense(3), L.Dense(2)])
        model(np.zeros((1, 4), "float32"))
        return model

    @kind("a model in a model, called twice")
    def _():
        x, shared = keras.Input(FLAT), inner(name="shared")
        return keras.Model(x, L.Dense(2)(shared(shared(x))))

    @kind("a Sequential in a model, called twice")
    def _():
        x, shared = keras.Input(FLAT), keras.Sequential([L.Dense(4), L.Dense(4)])
        return keras.Model(x, [shared(shared(x)), L.Dense(2)(x)])

    @kind("a model in a model, whose calls are outputs")
    def _():
        x, y, shared = keras.Input(FLAT), keras.Input(FLAT), inner(name="shared")
        return keras.Model([x, y], [shared(x), shared(y)])

    @kind("models three deep")
    def _():
        x = keras.Input(FLAT)
        middle = keras.Model(x, L.Dense(4)(inner(name="deep")(x)), name="middle")
        return keras.Sequential([keras.Input(FLAT), middle, L.Dense(2)])

    @kind("a model in a model, frozen")
    def _():
        x, base = keras.Input(FLAT), inner(name="base")
        base.trainable = False
        return keras.Model(x, L.Dense(2)(base(x, training=False)))

    @kind("a model in a model, partly frozen")
    def _():
        x, base = keras.Input(FLAT), inner(name="base")
        base.layers[1].trainable = False
        return keras.Model(x, L.Dense(2)(base(x)))

    @kind("frozen as a whole")
    def _():
        model = inner()
        model.trainable = False
        return model

    @kind("inputs and outputs by name")
    def _():
        x, y = keras.Input(FLAT, name="left"), keras.Input(FLAT, name="right")
        z = L.Add()([L.Dense(3, name="d")(x), L.Dense(3, name="c")(y)])
        return keras.Model({"b": x, "a": y}, {"sum": z, "other": L.Dense(2)(z)})

    @kind("a model of named inputs in a model")
    def _():
        x, y = keras.Input(FLAT, name="left"), keras.Input(FLAT, name="right")
        pair = keras.Model({"left": x, "right": y}, L.Subtract()([L.Dense(3)(x), y[:, :3]]))
        a, b = keras.Input(FLAT), keras.Input(FLAT)
        return keras.Model([a, b], pair({"left": b, "right": a}))

    @kind("several inputs and outputs, in a model")
    def _():
        x, y = keras.Input(FLAT), keras.Input(FLAT)
        pair = keras.Model([x, y], [L.Dense(3)(x), L.Dense(2)(y)])
        a, b = keras.Input(FLAT), keras.Input(FLAT)
        return keras.Model([a, b], L.Concatenate()(pair([b, a])[::-1]))

    @kind("a layer called twice")
    def _():
        x, layer = keras.Input(FLAT), L.Dense(4)
        return keras.Model(x, L.Dense(2)(layer(L.ReLU()(layer(x)))))

    @kind("branches")
    def _():
        x = keras.Input(IMAGE)
        left = L.Conv2D(3, 1, name="z")(x)
        right = L.BatchNormalization(name="a")(L.Conv2D(3, 1, name="m")(L.Conv2D(5, 1)(x)))
        return keras.Model(x, L.Add()([left, right]))

    @kind("mixed_float16 everywhere")
    def _():
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_float16")
        try:
            x = keras.Input(FLAT)
            return keras.Model(x, L.Dense(2, dtype="float32")(L.BatchNormalization()(
                L.Dense(4)(x) * 2)))  # fmt: skip
        finally:
            keras.config.set_dtype_policy(policy)

    @kind("compiled")
    def _():
        x = keras.Input(FLAT)
        model = keras.Model(x, {"a": L.Dense(2)(x), "b": L.Dense(1, activation="sigmoid")(x)})
        rate = keras.optimizers.schedules.ExponentialDecay(0.1, 100, 0.9)
        model.compile(
            keras.optimizers.AdamW(rate, clipnorm=1.0),
            {"a": keras.losses.Huber(), "b": "binary_crossentropy"},
            loss_weights={"a": 2.0, "b": 1.0},
            metrics={"a": ["mae"], "b": [keras.metrics.AUC(), "accuracy"]},
        )
        return model

    @kind("MobileNet")
    def _():
        return keras.applications.MobileNet((32, 32, 3), 0.25, weights=None, classes=3,
                                            classifier_activation=None)  # fmt: skip

    @kind("MobileNetV3Small")
    def _():
        return keras.applications.MobileNetV3Small(
            (32, 32, 3), 0.35, minimalistic=True, weights=None, classes=3,
            classifier_activation=None)  # fmt: skip

    @kind("EfficientNetB0")
    def _():
        return keras.applications.EfficientNetB0(weights=None, input_shape=(32, 32, 3), classes=3,
                                                 classifier_activation=None)  # fmt: skip

    return made


def operations(keras):
    ops = keras.ops
    table = {
        "2 - x": lambda x: 2 - x,
        "x * 2 + y": lambda x, y: x * 2 + y,
        "(x - y) / 3": lambda x, y: (x - y) / 3,
        "x ** 2": lambda x: x**2,
        "-x": lambda x: -x,
        "x + an array": lambda x: x + np.arange(4, dtype="float32"),
        "x[:, 1:, 0]": lambda x: x[:, 1:, 0],
        "x @ y": lambda x, y: ops.matmul(x, ops.transpose(y, (0, 2, 1))),
        "mean, sum, max, min": lambda x: [
            ops.mean(x, axis=-1), ops.sum(x, axis=(1, 2), keepdims=True), ops.max(x, axis=1),
            ops.min(x, axis=-1, keepdims=True)],
        "concatenate, stack": lambda x, y: [
            ops.concatenate([x, y], axis=1), ops.stack([x, y], axis=-1)],
        "reshape, squeeze, expand_dims": lambda x: ops.squeeze(
            ops.expand_dims(ops.reshape(x, (-1, 20)), 1), 1),
        "activations": lambda x: [
            ops.relu(x), ops.sigmoid(x), ops.softmax(x, axis=1), ops.silu(x), ops.tanh(x),
            ops.relu6(x), ops.softplus(x), ops.log_softmax(x)],
        "functions": lambda x: [
            ops.exp(x), ops.abs(x), ops.square(x), ops.sqrt(ops.abs(x)), ops.log1p(ops.abs(x)),
            ops.sin(x), ops.cos(x), ops.erf(x), ops.clip(x, -0.5, 0.5)],
        "maximum, minimum": lambda x, y: ops.maximum(ops.minimum(x, y), 0.1),
        "cast": lambda x: ops.cast(x, "float16"),
    }  # fmt: skip

    def build(function):
        inputs = [keras.Input(SEQUENCE) for _ in range(function.__code__.co_argcount)]
        return keras.Model(inputs, function(*inputs))

    return {f"operation {n}": lambda f=f: build(f) for n, f in table.items()}


def randomized(model):
    """The model with seeded values in all its weights."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if np.dtype(weight.dtype if weight.dtype != "bfloat16" else "float32").kind == "f":
            values = rng.standard_normal(weight.shape) / np.sqrt(np.prod(weight.shape[:-1]))
            weight.assign(np.abs(values) + 0.5 if "variance" in weight.path else values)
    for layer in model.layers:
        if type(layer).__name__ == "Normalization":
            layer.finalize_state()
    return model


def inputs_of(model):
    """An array for each input, in order."""
    rng = np.random.default_rng(1)
    found = []
    for tensor in model.inputs:
        shape = (3, *tensor.shape[1:])
        if tensor.dtype == "string":
            found.append(rng.choice(["a", "b", "c", "a b"], shape))
        elif tensor.dtype == "bool" or "int" in tensor.dtype:
            values = rng.integers(0, 5, shape)
            values[:, 0] = 1
            found.append(values.astype(tensor.dtype))
        elif any("embedding" in layer.name for layer in model.layers):
            found.append(rng.integers(0, 4, shape).astype("float32"))
        else:
            values = rng.standard_normal(shape)
            values[0, -1] = 0  # for Masking
            found.append(values.astype("float32"))
    return found


def make(keras, name, build, folder):
    """The model, written for Keras 2 into a folder, with inputs and what it makes of them."""
    import surgery

    model = randomized(build())
    model.save(folder / "model.keras")
    target = {"path": str(folder / "model.h5"), "for": "keras2"}
    recipe = {"surgery": 1, "load": str(folder / "model.keras"), "export": [{"h5": target}]}
    surgery.run(recipe)
    inputs = inputs_of(model)
    expected = keras.tree.flatten(model(as_called(keras, model, inputs), training=False))
    expected += losses(model, inputs, expected)
    np.savez(folder / "inputs.npz", *inputs)
    np.savez(folder / "expected.npz", *map(np.asarray, expected))
    (folder / "name.txt").write_text(name)


def losses(model, inputs, outputs):
    """The losses and metrics of a compiled model, sorted: Keras 2 and 3 name them otherwise."""
    if getattr(model, "optimizer", None) is None:
        return []
    wanted = {n: np.round(np.abs(np.asarray(o))) for n, o in zip("ab", outputs, strict=True)}
    found = model.test_on_batch(inputs[0], wanted, return_dict=True)
    return [np.float64(value) for value in sorted(found.values())]


def as_called(keras, model, inputs):
    """The inputs in the structure that the model takes."""
    import tensorflow as tf

    tensors = [tf.constant(x) for x in inputs]
    structure = getattr(model, "_inputs_struct", model.inputs[0])
    return keras.tree.pack_sequence_as(structure, tensors)


def difference(keras, folder):
    """How far the predictions of a Keras 2 are from those of Keras 3, relative where above 1."""
    import tensorflow as tf

    model = keras.models.load_model(folder / "model.h5")
    with np.load(folder / "inputs.npz") as arrays:
        inputs = [tf.constant(x) for x in arrays.values()]
    inputs = tf.nest.pack_sequence_as(model._nested_inputs, inputs) if inputs[1:] else inputs[0]
    with np.load(folder / "expected.npz") as arrays:
        expected = list(arrays.values())
    found = tf.nest.flatten(model(inputs, training=False))
    found += losses(model, [inputs], found)
    weights = model.get_weights()
    model.set_weights([weight * 0 for weight in weights])
    model.load_weights(folder / "model.h5")
    if any((a != b).any() for a, b in zip(weights, model.get_weights(), strict=True)):
        return "load_weights loads others"
    return max(
        float(np.abs(np.asarray(f, "float64") - e).max() / max(1, np.abs(e).max()))
        if f.shape == e.shape
        else float("inf")
        for f, e in zip(found, expected, strict=True)
    )


def differences(keras, root):
    """By name: the difference, or why there is none."""
    found = {}
    for folder in sorted(root.iterdir(), key=lambda folder: int(folder.name)):
        try:
            found[(folder / "name.txt").read_text()] = difference(keras, folder)
        except Exception as error:  # what Keras 2 says of it is the result
            found[(folder / "name.txt").read_text()] = f"{type(error).__name__}: {error}"[:300]
    return found


def outcome(name, difference):
    if isinstance(difference, str):
        return difference
    # float16 has 11 bits, and the versions of TensorFlow round differently.
    return "yes" if difference < (2e-3 if "float16" in name else 1e-4) else f"{difference:.2g}"


def main():
    if sys.argv[1] == "--check":
        if "tf_keras" in sys.argv:
            import tf_keras as keras
        else:
            from tensorflow import keras
        print(json.dumps(differences(keras, Path(sys.argv[2]))))
        return
    import keras

    with tempfile.TemporaryDirectory() as root:
        for number, (name, build) in enumerate(kinds(keras).items()):
            folder = Path(root, str(number))
            folder.mkdir()
            make(keras, name, build, folder)
        columns = [checked(root, sys.executable, "tf_keras")]
        columns += [checked(root, python) for python in sys.argv[1:]]
    lines = ["| kind | tf_keras | 2.12.1 | 2.15.1 |", "| --- | --- | --- | --- |"]
    for name in columns[0]:
        lines.append(f"| {name} | " + " | ".join(outcome(name, c[name]) for c in columns) + " |")
    head, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(head + BEGIN + "\n".join(lines) + "\n" + END + rest.split(END)[1])


def checked(root, python, *options):
    command = [python, __file__, "--check", root, *options]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
