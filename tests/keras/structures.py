"""Small models of every structure, and what Keras makes of them by hand."""

import warnings

import numpy as np

import surgery


def randomise(model, seed=0):
    """Weights of which none is trivially zero or one."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        if str(variable.dtype).startswith(("float", "bfloat")) and "seed" not in variable.path:
            fan = max(1, int(np.prod(variable.shape[:-1])))
            low, high = (0.5, 1.5) if variable.name in ("gamma", "moving_variance") else (-1, 1)
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


def same_layers(model):
    """The function that keeps a layer in a clone, so that weights are shared."""
    return lambda layer: layer


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


def calls_of(keras, layer):
    """The nodes of a layer's calls inside a model: a functional model has one of its own first."""
    own = isinstance(layer, keras.Model) and not isinstance(layer, keras.Sequential)
    return layer._inbound_nodes[own:]
