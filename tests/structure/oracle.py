"""What a model with fewer channels must equal: the old one whose readers see zeros."""

import numpy as np

from surgery.recipe.parts import build_op


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
    import keras

    from tests.structure.living import LIVING

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
    import keras

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
    import keras

    return [np.asarray(each) for each in keras.tree.flatten(model(data, training=False))]


def difference(one, two):
    """The largest difference of outputs, relative to the largest one."""
    return max(
        float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-9))
        for a, b in zip(one, two, strict=True)
    )
