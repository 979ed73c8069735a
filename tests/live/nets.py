"""Models that are built by code, for tests."""

import keras
import numpy as np
import tensorflow as tf


@keras.saving.register_keras_serializable("nets")
class CustomModule(keras.layers.Layer):
    """Two Dense layers and a scale of its own."""

    def __init__(self, units=8, **keys):
        super().__init__(**keys)
        self.units = units
        self.inner_dense1 = keras.layers.Dense(units, name="inner_dense1")
        self.inner_dense2 = keras.layers.Dense(4, name="inner_dense2")
        self.scale = self.add_weight(shape=(4,), name="scale", initializer="ones")

    def call(self, x):
        return self.inner_dense2(self.inner_dense1(x)) * self.scale

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class Net(keras.Model):
    """Nested and subclassed, with all kinds of sublayers."""

    def __init__(self, units=8, **keys):
        super().__init__(**keys)
        self.custom_module = CustomModule(units, name="custom_module")
        self.blocks = [keras.layers.Dense(4, name=f"block{n}") for n in range(2)]
        self.heads = {name: keras.layers.Dense(3, name=f"head_{name}") for name in "ab"}
        self.rnn = keras.layers.Bidirectional(keras.layers.LSTM(3, name="lstm"), name="bi")
        self.stack = keras.layers.RNN([keras.layers.GRUCell(3, name="gru")], name="stack")
        self.attention = keras.layers.MultiHeadAttention(2, 3, name="mha")
        self.drop = keras.layers.Dropout(0.1)
        self.norm = keras.layers.BatchNormalization(name="norm")

    def call(self, x):
        x = self.custom_module(x)
        for block in self.blocks:
            x = block(x)
        steps = self.norm(self.drop(x))[:, None, :]
        steps = self.attention(steps, steps)
        x = self.rnn(steps)
        return self.heads["a"](x) + self.heads["b"](x) + self.stack(steps)


class Tracked(keras.Model):
    """Only attributes that TensorFlow tracks, a tf.Module among them."""

    def __init__(self):
        super().__init__()
        self.module = tf.Module(name="module")
        self.module.w = tf.Variable(tf.ones((10, 3)), name="w")
        self.custom_module = CustomModule(name="custom_module")
        self.head = keras.layers.Dense(3, name="head")

    def call(self, x):
        return self.head(self.custom_module(x)) + x @ self.module.w


def make(units=8):
    return Net(units)


def tracked():
    return Tracked()


def functional(units=5):
    inputs = keras.Input((10,), name="in")
    x = CustomModule(units, name="custom_module")(inputs)
    return keras.Model(inputs, keras.layers.Dense(3, name="head")(x), name="functional")


def two_inputs():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    return keras.Model([a, b], keras.layers.Dense(2, name="d")(keras.layers.Add()([a, b])))


def nested(compiled=True, keras=keras):
    """A body that is a model of its own, with attention and batch statistics, and a head."""
    layers = keras.layers
    inputs = keras.Input((4, 3), name="body_in")
    x = layers.Dense(6, activation="relu", name="first")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    body = keras.Model(inputs, layers.MultiHeadAttention(2, 3, name="mha")(x, x), name="body")
    inputs = keras.Input((4, 3), name="given")
    x = layers.Flatten(name="flat")(body(inputs))
    model = keras.Model(inputs, layers.Dense(3, name="head")(x), name="nested")
    if compiled:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    return model


def named(name, function):
    """Arguments that are called as our own are."""
    model = Net()
    model.note = (name, function)
    return model


def no_model():
    return 3


def fails():
    raise RuntimeError("no luck")


def batches(epoch, size=4):
    rng = np.random.default_rng(epoch)
    for _ in range(3):
        yield rng.random((size, 10), np.float32), rng.integers(0, 3, size)
