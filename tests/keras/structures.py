"""Small models of every structure, and what Keras makes of them by hand."""

import warnings

import numpy as np

import surgery


def nets(keras):
    """Functions that build a net of each structure, by name."""
    layers, ops_ = keras.layers, keras.ops

    def plain():
        x = given = keras.Input((6, 6, 3), name="image")
        x = layers.Conv2D(4, 3, name="conv")(x)
        x = layers.Dropout(0.5, name="drop")(layers.BatchNormalization(name="norm")(x))
        return keras.Model(given, layers.Dense(2, name="out")(layers.Flatten(name="flat")(x)))

    def residual():
        x = given = keras.Input((6,), name="given")
        for number in range(3):
            y = layers.Dense(6, activation="relu", name=f"dense_{number}")(x)
            x = layers.Add(name=f"add_{number}")([x, y])
        return keras.Model(given, x)

    def several():
        one, two = keras.Input((4,), name="b"), keras.Input((4,), name="a")
        x = layers.Concatenate(name="both")([two, one])
        ends = {"z": layers.Dense(2, name="first")(x), "y": layers.Dense(3, name="second")(x)}
        return keras.Model({"one": one, "two": two}, ends)

    def nested():
        inner = keras.Input((4,), name="inner_in")
        deep_in = keras.Input((4,), name="deep_in")
        deep = keras.Model(deep_in, layers.Dense(4, name="d")(deep_in), name="deep")
        x = deep(layers.Dense(4, name="h")(inner))
        encoder = keras.Model(inner, [layers.ReLU(name="r")(x), x], name="encoder")
        head = keras.Sequential(
            [keras.Input((4,)), layers.Dense(3, name="p"), layers.ReLU(name="q")], name="head"
        )
        given = keras.Input((4,), name="given")
        left, right = encoder(given)
        return keras.Model(given, [head(left), head(right)])

    def shared():
        one, two = keras.Input((4,), name="one"), keras.Input((4,), name="two")
        inner = keras.Input((4,), name="inner")
        tower = keras.Model(inner, layers.Dense(4, name="d")(inner), name="tower")
        dense = layers.Dense(4, name="dense")
        x = layers.Subtract(name="minus")([tower(dense(one)), tower(dense(tower(two)))])
        return keras.Model([one, two], [tower(x), x])

    def operations():
        x = given = keras.Input((4,), name="given")
        left, right = ops_.split(layers.Dense(4, name="d")(x) * 2.0, 2, axis=-1)
        x = ops_.concatenate([right, ops_.relu(left) + right], axis=-1)
        return keras.Model(given, ops_.mean(ops_.expand_dims(x, 1), axis=1))

    def masked():
        x = given = keras.Input((5,), dtype="int32", name="words")
        x = layers.Embedding(10, 4, mask_zero=True, name="embedding")(x)
        return keras.Model(given, layers.LSTM(3, name="lstm")(x))

    def attention():
        x = given = keras.Input((5, 4), name="given")
        y = layers.MultiHeadAttention(2, 2, name="mha")(x, value=x, use_causal_mask=True)
        return keras.Model(given, layers.LayerNormalization(name="norm")(layers.Add()([x, y])))

    def sequential():
        return keras.Sequential(
            [keras.Input((4,), name="given"), layers.Dense(3, name="a"), layers.ReLU(name="b")]
        )

    def returns_its_input():
        given = keras.Input((4,), name="given")
        return keras.Model(given, [given, layers.Dense(2, name="d")(given)])

    found = [plain, residual, several, nested, shared, operations, masked, attention, sequential,
             returns_its_input]  # fmt: skip
    return {build.__name__: build for build in found}


NETS = [
    "plain", "residual", "several", "nested", "shared", "operations", "masked", "attention",
    "sequential", "returns_its_input",
]  # fmt: skip
"""The names of `nets`, which are known without Keras."""


def randomise(model, seed=0):
    """Weights of which none is trivially zero or one."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        if str(variable.dtype).startswith(("float", "bfloat")) and "seed" not in variable.path:
            fan = max(1, int(np.prod(variable.shape[:-1])))
            low, high = (
                (0.5, 1.5) if variable.name in ("gamma", "moving_variance", "variance") else (-1, 1)
            )
            values = rng.uniform(low, high, variable.shape)
            variable.assign(values if low > 0 else values * (2 / fan) ** 0.5)
    return model


def loaded(keras, path):
    """The model in a file as Keras has it, custom code refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return keras.models.load_model(path)


def written(keras, model, path):
    """(what surgery opens, what Keras loads) of a model that Keras saves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(path)
    return surgery.open(path), loaded(keras, path)


def saved(keras, model, path):
    """What Keras loads of a model that surgery saves, whose weights are all in place."""
    surgery.save(model, keras=path)
    new = loaded(keras, path)
    ours = {weight.address: weight.tensor for weight in surgery.open(path).weights}
    assert [list(w.tensor.shape) for w in model.weights] == [list(t.shape) for t in ours.values()]
    return new


def inputs_of(keras, model, count=2, seed=1):
    """An array for each input of a model, in its structure; equal for inputs of equal names."""

    def drawn(tensor):
        rng = np.random.default_rng([seed, *tensor.name.rpartition("_")[2].encode()])
        shape = (count, *(size or 5 for size in tensor.shape[1:]))
        if tensor.dtype.startswith("int"):
            return rng.integers(0, 10, shape).astype(tensor.dtype)
        return rng.normal(size=shape).astype("float32")

    return keras.tree.map_structure(drawn, structure(keras, model))


def structure(keras, model):
    """The structure of a model's inputs."""
    return model.inputs[0] if isinstance(model, keras.Sequential) else model.input


def arrays(keras, value):
    return [np.asarray(tensor, "float32") for tensor in keras.tree.flatten(value)]


def equal(keras, one, two):
    """Whether two results are the same to the last bit."""
    one, two = arrays(keras, one), arrays(keras, two)
    return len(one) == len(two) and all(map(np.array_equal, one, two))


def difference(keras, one, two):
    """The largest max|a - b| / max|a| of two results."""
    pairs = zip(arrays(keras, one), arrays(keras, two), strict=True)
    return max(float(np.abs(a - b).max() / (np.abs(a).max() + 1e-9)) for a, b in pairs)


def edited(keras, model, change):
    """A functional model in which `change(layer, args, kwargs)` gives a call's result, by hand.

    Where it gives None, the layer is called as it was.
    """

    def call(layer, *args, **kwargs):
        made = change(layer, args, kwargs)
        return layer(*args, **kwargs) if made is None else made

    return keras.models.clone_model(model, call_function=call, clone_function=lambda layer: layer)


def inside(keras, model, outer, new):
    """A functional model with another model in the place of a nested one, by hand."""
    return keras.models.clone_model(
        model, clone_function=lambda layer: new if layer.name == outer else layer
    )


def cut(keras, model, *tensors):
    """The model of the same inputs that ends in other tensors, by hand."""
    outputs = list(tensors) if len(tensors) > 1 else tensors[0]
    given = model.inputs if isinstance(model, keras.Sequential) else model.input
    return keras.Model(given, outputs)
