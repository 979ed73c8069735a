"""Published models, edited by surgery and loaded by Keras: the predictions are the golden ones."""

import re
import warnings

import numpy as np
import pytest

import surgery
from surgery.formats.base import formats
from tests.conftest import model_path, published_models


def loadable():
    for parameter in published_models():
        entry, golden = parameter.values
        if entry is None or "prediction" in golden:
            yield parameter


def inputs_of(golden):
    rng = np.random.default_rng(0)
    inputs = []
    for fact in golden["prediction"]["inputs"]:
        if bounds := re.match(r"rng.integers\((\d+), (\d+)", fact["how"]):
            inputs.append(rng.integers(int(bounds[1]), int(bounds[2]), fact["shape"]))
        else:
            inputs.append(rng.random(fact["shape"], np.float32))
    return inputs if len(inputs) > 1 else inputs[0]


@pytest.mark.parametrize("target", ["keras", "h5"])
@pytest.mark.parametrize(("entry", "golden"), loadable())
def test_predictions_of_the_copy_are_the_golden_ones(entry, golden, target, keras, tmp_path):
    model = surgery.open(model_path(golden))
    if formats()[target].problems(model):
        pytest.skip(f"{target} cannot hold it: {formats()[target].problems(model)[0]}")
    path = tmp_path / f"copy.{target}"
    surgery.save(model, **{target: path})
    safe = not any("safe_mode=False" in how for how in entry["opens_in"]["keras"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = keras.models.load_model(path, compile=False, safe_mode=safe)
        outputs = loaded(inputs_of(golden), training=False)
    outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
    for output, fact in zip(outputs, golden["prediction"]["outputs"], strict=True):
        first = np.asarray(output).ravel()[:8]
        np.testing.assert_allclose(first, fact["first8"], rtol=1e-4, atol=1e-6)
    trained = {id(w) for w in loaded.trainable_weights}
    # Keras has no trainable weight that we call frozen, and the other way round.
    assert sum(bool(w.trainable) for w in model.weights) == len(trained)
