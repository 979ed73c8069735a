"""Normalizations whose statistics are over some of the channels."""

import keras
import numpy as np


class LivingLayerNorm(keras.layers.LayerNormalization):
    """A LayerNormalization whose statistics are over some channels; the others become zero."""

    alive = None

    def call(self, inputs):
        places = np.flatnonzero(self.alive)
        given = keras.ops.take(inputs, places, axis=-1)
        mean = keras.ops.mean(given, axis=-1, keepdims=True)
        variance = keras.ops.mean(keras.ops.square(given - mean), axis=-1, keepdims=True)
        made = (inputs - mean) / keras.ops.sqrt(variance + self.epsilon)
        made = made * self.gamma if self.scale else made
        made = made + self.beta if self.center else made
        return made * self.alive.astype("float32")


class LivingGroupNorm(keras.layers.GroupNormalization):
    """A GroupNormalization whose statistics are over some channels; the others become zero."""

    alive = None

    def call(self, inputs):
        places = np.flatnonzero(self.alive)
        given = keras.ops.take(inputs, places, axis=-1)
        shape = keras.ops.shape(given)
        parts = keras.ops.reshape(given, (shape[0], -1, self.groups, places.size // self.groups))
        mean = keras.ops.mean(parts, axis=(1, 3), keepdims=True)
        variance = keras.ops.mean(keras.ops.square(parts - mean), axis=(1, 3), keepdims=True)
        parts = (parts - mean) / keras.ops.sqrt(variance + self.epsilon)
        made = keras.ops.reshape(parts, shape)
        for variable, combine in ((self.gamma, keras.ops.multiply), (self.beta, keras.ops.add)):
            made = combine(made, keras.ops.take(variable, places))
        chosen = np.eye(self.alive.size, dtype="float32")[places]
        return keras.ops.matmul(made, chosen)


class LivingRMSNorm(keras.layers.RMSNormalization):
    """An RMSNormalization whose mean square is over some channels."""

    alive = None

    def call(self, inputs):
        given = keras.ops.take(inputs, np.flatnonzero(self.alive), axis=-1)
        mean = keras.ops.mean(keras.ops.square(given), axis=-1, keepdims=True)
        return inputs / keras.ops.sqrt(mean + self.epsilon) * self.scale


LIVING = {
    keras.layers.LayerNormalization: LivingLayerNorm,
    keras.layers.GroupNormalization: LivingGroupNorm,
    keras.layers.RMSNormalization: LivingRMSNorm,
}
