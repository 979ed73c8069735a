"""What is switched off before a training is off after it."""

import json

import numpy as np
import pytest

import surgery
from surgery.execution.execute import execute
from surgery.execution.planning import make_plan
from surgery.recipe.reading import read_recipe
from tests.conftest import values
from tests.live.conftest import recipe, train

LAYERS = [
    ("InputLayer", {"batch_shape": [None, 8, 8, 1], "name": "image"}),
    ("Conv2D", {"name": "conv", "filters": 8, "kernel_size": [3, 3]}),
    ("BatchNormalization", {"name": "norm"}),
    ("Flatten", {"name": "flatten"}),
    ("Dense", {"name": "digit", "units": 10, "activation": "softmax"}),
]


@pytest.fixture
def conv_net(tmp_path):
    entries = [
        {"module": "keras.layers", "class_name": name, "config": config, "registered_name": None}
        for name, config in LAYERS
    ]
    config = {"name": "net", "layers": entries}
    whole = {"module": "keras", "class_name": "Sequential", "config": config}
    (tmp_path / "net.json").write_text(json.dumps(whole))
    return {"config": "net.json"}


@pytest.mark.parametrize("with_norm", [True, False])
def test_a_channel_stays_off(with_norm, conv_net, tmp_path):
    """Its bias, gamma and beta too, where they are zero; all else is trained."""
    steps = [
        {"zero": {"select": "conv/kernel", "channels": "50%", "with_norm": with_norm}},
        train(keep_zeros=True, optimizer={"adam": {"learning_rate": 0.01}}),
    ]
    done = execute(make_plan(read_recipe(recipe(tmp_path, *steps, load=conv_net))))
    after = values(surgery.open(tmp_path / "out/model.keras"))
    kernel = after["conv/kernel"].reshape(-1, 8)
    gone = np.flatnonzero(~kernel.any(0))
    assert gone.size == 4
    off = {"conv/bias": True, "norm/gamma": with_norm, "norm/beta": True}
    for name, is_off in off.items():
        zeros = np.flatnonzero(after[name] == 0)
        np.testing.assert_array_equal(zeros, gone if is_off else [], err_msg=name)
    assert np.count_nonzero(after["digit/bias"]) == 10
    assert done.plan.steps[0].observer.total().changed == 36 + (4 if with_norm else 0)
