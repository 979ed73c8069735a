"""Weights such that nothing is zero or one by chance, and what a changed model predicts."""

import numpy as np

import surgery

_ABOUT_ONE = ("moving_variance", "gamma")
_ABOUT_ZERO = ("beta", "bias", "moving_mean")


def randomised(model, seed=0):
    """Draw a model's weights so that no layer is idle and its outputs stay in bounds."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        shape = tuple(variable.shape)
        if variable.name in _ABOUT_ONE:
            values = rng.uniform(0.5, 1.5, shape)
        elif variable.name in _ABOUT_ZERO:
            values = rng.normal(0, 0.1, shape)
        else:
            is_depthwise = "depthwise" in variable.path.lower()
            fan = np.prod(shape[:2] if is_depthwise else shape[:-1])
            values = rng.normal(0, (1.5 / max(1, fan)) ** 0.5, shape)
        variable.assign(values)
    return model


def inputs(model, seed=1, count=3):
    """Draw examples for each of a model's inputs."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(count, *each.shape[1:])).astype("float32") for each in model.inputs]


def opened(model, folder, name="before.keras"):
    """Return a Keras model as surgery opens its file."""
    model.save(folder / name)
    return surgery.open(folder / name)


def loaded(keras, model, folder, name="after.keras"):
    """Return what Keras loads of surgery's model."""
    surgery.save(model, keras=folder / name)
    return keras.models.load_model(folder / name)


def distance(one, two, data):
    """Return the largest difference of two models' predictions, relative to the largest of them."""
    pairs = zip(*(_predicted(model, data) for model in (one, two)), strict=True)
    return max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in pairs)


def _predicted(model, data):
    found = model(data if len(data) > 1 else data[0], training=False)
    found = found if isinstance(found, list) else [found]
    return [each.numpy().astype("float64") for each in found]
