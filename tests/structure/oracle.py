"""What a model with fewer channels must equal: the old one whose readers see zeros."""

import keras
import numpy as np

from surgery.recipe.parts import build_op


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


def reference(before, model, keys, seed=0):
    """The Keras model that `remove_channels` must equal.

    `before` is what surgery opens of the file of `model`, whose weights are changed.
    """
    op = build_op("remove_channels", keys, seed)
    removal = op.resolved(before).removal(before)
    alive = removal.families.alive(removal.dead.result())
    variables = dict(zip([w.address for w in before.weights], model.weights, strict=True))
    for cut in removal.trace.labels.cuts:
        is_there = cut.address in variables
        if cut.role == "in" and is_there and not alive[cut.labels].all():
            values = np.array(variables[cut.address])
            np.moveaxis(values, cut.axis, 0)[~alive[cut.labels]] = 0
            variables[cut.address].assign(values)
    mixes = {
        why.split(" ")[0].rpartition("/")[2]: alive[labels]
        for labels, why in removal.trace.labels.mixes
    }
    mixes = {name: kept for name, kept in mixes.items() if not kept.all()}
    return with_norms(model, mixes) if mixes else model


def with_norms(model, alive):
    """The model with normalizations over the channels that stay."""

    def clone(layer):
        kept = alive.get(layer.name)
        if kept is None or type(layer) not in LIVING:
            return type(layer).from_config(layer.get_config())
        made = LIVING[type(layer)].from_config(layer.get_config())
        made.alive = kept
        return made

    made = keras.models.clone_model(model, clone_function=clone, recursive=True)
    made.set_weights(model.get_weights())
    return made


def inputs(model, seed=5):
    """An array for each input, in its structure."""
    rng = np.random.default_rng(seed)

    def drawn(tensor):
        shape = [2 if size is None else size for size in tensor.shape]
        if "int" in tensor.dtype:
            return rng.integers(0, 8, shape).astype("int32")
        return rng.normal(size=shape).astype("float32")

    given = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    return keras.tree.map_structure(drawn, given)


def predicted(model, data):
    """The outputs, flat."""
    return [np.asarray(each) for each in keras.tree.flatten(model(data, training=False))]


def difference(one, two):
    """The largest difference of outputs, relative to the largest one."""
    return max(
        float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-9))
        for a, b in zip(one, two, strict=True)
    )
