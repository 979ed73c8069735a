"""Small models of Keras 2 in all the ways that its configs are odd, for any Keras 2 to make.

`python -m tests.keras.old_kinds OUT` writes them with the Keras 2 of the TensorFlow (2.12 to 2.15)
that runs it: KIND.h5, KIND.keras, KIND.json, KIND_weights.h5, and KIND.npz with inputs x0.. and
outputs p0...
"""

import os
import sys
from pathlib import Path

import numpy as np

INTEGERS = ("hashed", "embedded")


def kinds(keras, tf):
    """Functions that make the models, by kind."""
    layers = keras.layers
    inputs = keras.Input

    def row(shape, *inner, name="row"):
        return keras.Sequential([inputs(shape), *inner], name=name)

    def graph(shape, function):
        x = inputs(shape)
        return keras.Model(x, function(x))

    def operators(x):
        a = layers.Dense(4, name="a")(x)
        b = 1.0 - a
        c = (a / 2.0 + b * a - 0.5) ** 2.0
        d = tf.maximum(tf.abs(-c), 0.1)
        return layers.Dense(2, name="z")(tf.sqrt(d) + tf.exp(-d) + tf.math.log(d) + tf.square(d))

    def shapes(x):
        a = layers.Conv2D(4, 3, name="a")(x)
        b = tf.reshape(a, [-1, 36, 4])
        c = tf.transpose(b, [0, 2, 1])
        d = tf.concat([b, tf.transpose(c, perm=[0, 2, 1])], axis=-1)
        e, f = tf.split(d, 2, axis=-1)
        g = tf.stack([e, f], axis=1)
        h = tf.squeeze(tf.expand_dims(g, 1), axis=1)
        return layers.Dense(2, name="z")(tf.reduce_mean(h, axis=[1, 2]))

    def activations(x):
        a = layers.Dense(4, name="a")(x)
        parts = [tf.nn.relu6(a), tf.nn.elu(a), tf.nn.selu(a), tf.nn.gelu(a), tf.sigmoid(a),
                 tf.nn.leaky_relu(a), tf.nn.softplus(a), tf.nn.softmax(a), tf.tanh(a),
                 tf.nn.log_softmax(a, axis=-1), tf.nn.leaky_relu(a, alpha=0.4)]  # fmt: skip
        return layers.Concatenate()(parts)

    def reductions(x):
        parts = [tf.reduce_sum(x, axis=1), tf.reduce_max(x, axis=1), tf.reduce_min(x, axis=1),
                 tf.reduce_prod(x, axis=1), tf.reduce_mean(x, 1)]  # fmt: skip
        return layers.Dense(2, name="z")(tf.concat(parts, -1))

    def slices(x):
        a = layers.Dense(6, name="a")(x)
        return layers.Concatenate()([a[:, 1:3], a[:, ::2], a[:, -1:], a[:, 0:1]])

    def clipped(x):
        a = layers.Dense(6, name="a")(x)
        b = tf.clip_by_value(a, -0.2, 0.3)
        return tf.where(tf.greater(a, 0.1), a, b) + tf.cast(tf.less(a, 0.0), "float32")

    def products(x):
        a = layers.Dense(5, name="a")(x)
        return tf.matmul(a, layers.Dense(5, name="b")(x), transpose_b=False)

    def shared(shape=(6,)):
        inner = row(shape, layers.Dense(4, name="e1"), layers.BatchNormalization(name="bn"))
        left, right = inputs(shape), inputs(shape)
        return keras.Model([left, right], [inner(right), inner(left)])

    def shared_functional():
        x = inputs((6,))
        inner = keras.Model(x, layers.Dense(4, name="e1")(x), name="inner")
        left, right = inputs((6,)), inputs((6,))
        return keras.Model([left, right], [inner(right), inner(left), inner(inner_of(left))])

    def inner_of(x):
        return layers.Dense(6, name="before")(x)

    def dictionary():
        x = {"a": inputs((4,), name="a"), "b": inputs((3,), name="b")}
        y = layers.Concatenate()([layers.Dense(3, name="d")(x["a"]), x["b"]])
        return keras.Model(
            x, {"u": layers.Dense(2, name="u")(y), "v": layers.Dense(1, name="v")(y)}
        )

    def masked(x):
        a = layers.Masking(0.0)(x)
        return layers.Dense(2, name="z")(layers.GRU(3, name="g")(a))

    def called_in_training(x):
        a = layers.BatchNormalization(name="bn")(layers.Dense(4, name="a")(x), training=False)
        return layers.Dense(2, name="z")(layers.Dropout(0.5)(a, training=False))

    def queries(x):
        attention = layers.MultiHeadAttention(2, 3, value_dim=5, name="m")
        memory = layers.Dense(7, name="memory")(x)
        causal = layers.AdditiveAttention(name="n")([x, x])
        return layers.Concatenate()([attention(x, memory, memory), causal])

    def states(x):
        ahead = layers.Bidirectional(layers.LSTM(3, return_state=True, return_sequences=True))
        sequence, *state = ahead(x)
        behind = layers.Bidirectional(layers.LSTM(3), name="behind")
        return behind(sequence, initial_state=state)

    def residual_hard(x):
        a = layers.Dense(4, activation="hard_sigmoid", name="a")(x)
        b = layers.Activation("hard_sigmoid", name="b")(layers.Dense(4, name="c")(x))
        return layers.Dense(2, name="z")(layers.Add()([a, b]))

    def deep(x):
        inner = row((4,), layers.Dense(3, name="i"), name="deepest")
        middle = row((5,), layers.Dense(4, name="j"), inner, name="middle")
        return middle(layers.Dense(5, name="k")(x))

    def slashes(x):
        inner_in = inputs((4,), name="in/ner")
        inner = keras.Model(inner_in, layers.Dense(3, name="d/e")(inner_in), name="m/n")
        return inner(layers.Dense(4, name="a/b")(layers.Dense(4, name="a_b")(x)))

    def unbuilt():
        model = keras.Sequential([layers.Dense(3, name="a"), layers.Dense(2, name="b")])
        model(np.zeros((1, 4), np.float32))
        return model

    def unbuilt_images():
        model = keras.Sequential(
            [layers.Conv2D(3, 3, name="a"), layers.GlobalMaxPooling2D(), layers.Dense(2, name="b")]
        )
        model(np.zeros((1, 8, 8, 2), np.float32))
        return model

    def compiled(loss, metrics, optimizer):
        model = row((4,), layers.Dense(3, activation="softmax", name="o"))
        model.compile(optimizer, loss, metrics=metrics)
        return model

    optimizers = keras.optimizers
    cell = layers.LSTMCell
    return {
        "operators": lambda: graph((6,), operators),
        "shapes": lambda: graph((8, 8, 3), shapes),
        "activations": lambda: graph((6,), activations),
        "reductions": lambda: graph((5, 4), reductions),
        "slices": lambda: graph((6,), slices),
        "clipped": lambda: graph((6,), clipped),
        "products": lambda: graph((5, 5), products),
        "shared": shared,
        "shared_functional": shared_functional,
        "dictionary": dictionary,
        "masked": lambda: graph((5, 3), masked),
        "called_in_training": lambda: graph((6,), called_in_training),
        "queries": lambda: graph((6, 4), queries),
        "states": lambda: graph((5, 3), states),
        "hard": lambda: graph((6,), residual_hard),
        "hard_row": lambda: row((6,), layers.Dense(4, activation="hard_sigmoid", name="a"),
                                layers.Activation("hard_sigmoid", name="b"), layers.Dense(2)),
        "hard_gru": lambda: row((5, 3), layers.GRU(4, recurrent_activation="hard_sigmoid")),
        "hard_gru_old": lambda: row((5, 3), layers.GRU(
            4, recurrent_activation="hard_sigmoid", reset_after=False)),
        "hard_bidirectional": lambda: row((5, 3), layers.Bidirectional(layers.LSTM(
            4, recurrent_activation="hard_sigmoid", use_bias=False))),
        "hard_cells": lambda: row((5, 3), layers.RNN(
            [cell(3, recurrent_activation="hard_sigmoid"), layers.GRUCell(2)])),
        "hard_inside": lambda: row((5, 3), layers.LSTM(4, activation="hard_sigmoid")),
        "hard_distributed": lambda: row((5, 3), layers.TimeDistributed(
            layers.Dense(2, activation="hard_sigmoid"))),
        "convlstm": lambda: row((4, 6, 6, 2), layers.ConvLSTM2D(3, 2), layers.Flatten(),
                                layers.Dense(2)),
        "deep": lambda: graph((6,), deep),
        "slashes": lambda: graph((6,), slashes),
        "unbuilt": unbuilt,
        "unbuilt_images": unbuilt_images,
        "syncbn": lambda: row((8, 8, 2), layers.Conv2D(3, 3),
                              layers.experimental.SyncBatchNormalization()),
        "cropped": lambda: row((8, 8, 2), layers.CenterCrop(6, 6), layers.Rescaling(0.5, 0.1),
                               layers.Resizing(4, 4), layers.Conv2D(2, 3)),
        "augmented": lambda: row((8, 8, 2), layers.RandomBrightness(0.2), layers.RandomZoom(0.1),
                                 layers.Conv2D(2, 3)),
        "cropped_at_random": lambda: row((8, 8, 2), layers.RandomCrop(5, 6), layers.Conv2D(2, 3)),
        "zoomed": lambda: row((8, 8, 2), layers.RandomZoom(0.2), layers.RandomTranslation(0.1, 0.1),
                              layers.RandomContrast(0.1), layers.RandomFlip(), layers.Conv2D(2, 3)),
        "resized": lambda: row((8, 8, 2), layers.Resizing(5, 6, interpolation="nearest"),
                               layers.Resizing(7, 4, crop_to_aspect_ratio=True),
                               layers.Conv2D(2, 3)),
        "pooled": lambda: row((8, 8, 2), layers.Conv2D(3, 1), layers.MaxPooling2D(3, 2, "same"),
                              layers.AveragePooling2D(2), layers.GlobalAveragePooling2D()),
        "attended": lambda: graph((6, 4), lambda x: layers.Attention(score_mode="concat",
                                  use_scale=True)([x, layers.Dense(4)(x)])),
        "dotted": lambda: graph((6, 4), lambda x: layers.Dot(axes=[2, 2], normalize=True)(
            [layers.Dense(3)(x), layers.Dense(3)(x)])),
        "embedded": lambda: graph((5,), lambda x: layers.LSTM(3)(layers.Embedding(
            9, 4, mask_zero=True)(x))),
        "unit": lambda: row((6,), layers.Dense(4), layers.UnitNormalization()),
        "group": lambda: row((8, 8, 4), layers.GroupNormalization(2), layers.Conv2D(2, 1)),
        "always_in_training": lambda: graph((6,), lambda x: layers.Dropout(0.5)(
            layers.Dense(3)(x), training=True)),
        "discretized": lambda: row((3,), layers.Discretization([0.5, 1.5, 2.5]),
                                   layers.Embedding(4, 2)),
        "hashed": lambda: keras.Sequential([
            inputs((3,), dtype="int64"), layers.Hashing(5), layers.Embedding(5, 2)]),
        "regularized": lambda: row((4,), layers.Dense(
            3, kernel_regularizer="l2", bias_constraint="non_neg", activity_regularizer="l1",
            kernel_initializer=keras.initializers.VarianceScaling(2.0)),
            layers.Dense(2, kernel_initializer="orthogonal", bias_initializer="ones")),
        "advanced": lambda: row((4,), layers.Dense(3), layers.LeakyReLU(0.2), layers.PReLU(),
                                layers.ELU(0.3), layers.ThresholdedReLU(0.1), layers.ReLU(
                                    max_value=1.0, negative_slope=0.1, threshold=0.05)),
        "images": lambda: row((8, 8, 2), layers.ZeroPadding2D(1), layers.Cropping2D(1),
                              layers.UpSampling2D(2, interpolation="bilinear"),
                              layers.SeparableConv2D(3, 3, name="s"),
                              layers.DepthwiseConv2D(2, depth_multiplier=2),
                              layers.LayerNormalization(axis=[1, 2, 3])),
        "volumes": lambda: row((4, 4, 4, 2), layers.Conv3D(2, 2), layers.Conv3DTranspose(3, 2),
                               layers.AveragePooling3D(), layers.SpatialDropout3D(0.1)),
        "grouped": lambda: row((8, 8, 4), layers.Conv2D(6, 3, groups=2, dilation_rate=2)),
        "wrapped": lambda: row((3, 6, 6, 2), layers.TimeDistributed(row(
            (6, 6, 2), layers.Conv2D(3, 3, name="c"), layers.BatchNormalization(name="b"),
            name="inner")), layers.Flatten(), layers.Dense(2)),
        "half": lambda: row((4,), layers.Dense(3, dtype="float16"), layers.Dense(2)),
        "adam": lambda: compiled("sparse_categorical_crossentropy", ["accuracy"],
                                 optimizers.Adam(0.01, clipnorm=1.0)),
        "legacy": lambda: compiled(keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
                                   [keras.metrics.AUC(), "mae"],
                                   optimizers.legacy.SGD(0.1, momentum=0.9, decay=0.01)),
        "scheduled": lambda: compiled("mse", [], optimizers.RMSprop(
            optimizers.schedules.ExponentialDecay(0.1, 10, 0.9))),
        "local": lambda: row((8, 3), layers.LocallyConnected1D(2, 3)),
        "heights": lambda: row((8, 8, 3), layers.RandomHeight(0.2), layers.Conv2D(2, 3)),
    }  # fmt: skip


def write_kind(keras, tf, kind, make, out):
    """Make a model with seeded weights, and write it in all forms, with what it predicts."""
    keras.backend.clear_session()
    rng = np.random.default_rng(len(kind))
    model = make()
    model.set_weights([_drawn(rng, weight) for weight in model.weights])
    shapes = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    xs = [rng.standard_normal((2, *(size or 4 for size in shape))) for shape in shapes]
    xs = [np.abs(x * 3).astype("int64") if kind in INTEGERS else x.astype("float32") for x in xs]
    given = [tf.constant(x) for x in xs]
    if kind == "dictionary":
        made = model(dict(zip(model.input_names, given, strict=True)), training=False)
    else:
        made = model(given if len(given) > 1 else given[0], training=False)
    ys = [made[key] for key in sorted(made)] if isinstance(made, dict) else made
    ys = list(ys) if isinstance(ys, list | tuple) else [ys]
    facts = {f"x{i}": x for i, x in enumerate(xs)}
    facts |= {f"p{i}": np.asarray(y, "float64") for i, y in enumerate(ys)}
    np.savez(out / f"{kind}.npz", **facts)
    model.save(out / f"{kind}.h5")
    model.save(out / f"{kind}.keras")
    (out / f"{kind}.json").write_text(model.to_json())
    model.save_weights(out / f"{kind}_weights.h5")


def _drawn(rng, weight):
    values = weight.numpy()
    if values.dtype.kind != "f":
        return values
    drawn = rng.standard_normal(values.shape) * 0.4
    return (np.abs(drawn) + 0.2 if "variance" in weight.name else drawn).astype(values.dtype)


def main():
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="", TF_ENABLE_ONEDNN_OPTS="0")
    import tensorflow as tf

    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for kind, make in kinds(tf.keras, tf).items():
        if len(sys.argv) > 2 and kind not in sys.argv[2:]:
            continue
        try:
            write_kind(tf.keras, tf, kind, make, out)
        except Exception as error:  # what this Keras cannot make or write is left out
            print(kind, type(error).__name__, str(error).splitlines()[0][:150])


if __name__ == "__main__":
    main()
