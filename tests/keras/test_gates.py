"""The hard sigmoid of Keras 2 and 3 in recurrent layers."""

import numpy as np
import pytest

from surgery.architecture import Architecture
from surgery.architecture.gates import TO_KERAS_2, TO_KERAS_3, scaled_gates
from surgery.weights.arithmetic import scaled_columns
from surgery.weights.tensor import Mapped, constant

HARD = {"recurrent_activation": "hard_sigmoid"}


def layer(class_name, **config):
    return {"class_name": class_name, "config": {"name": "a", **config}}


LSTM = layer("LSTM", units=3, **HARD)
NAMES = ("kernel", "recurrent_kernel", "bias")
CASES = [
    (LSTM, {f"a/lstm_cell/{n}": ((0, 6), (9, 12)) for n in NAMES}),
    (layer("GRU", units=2, **HARD), {f"a/gru_cell/{n}": ((0, 4),) for n in NAMES}),
    (layer("GRU", units=2, use_bias=False, **HARD),
     {f"a/gru_cell/{n}": ((0, 4),) for n in NAMES[:2]}),
    (layer("ConvLSTM2D", filters=2, **HARD),
     {f"a/conv_lstm_cell/{n}": ((0, 4), (6, 8)) for n in NAMES}),
    (layer("RNN", cell=layer("StackedRNNCells", cells=[
        layer("GRUCell", units=2, **HARD), {**layer("LSTMCell", units=2), "name": "b"}])),
     {f"a/a/a/{n}": ((0, 4),) for n in NAMES}),
    (layer("Bidirectional", layer=LSTM),
     {f"a/{way}_a/lstm_cell/{n}": ((0, 6), (9, 12))
      for way in ("forward", "backward") for n in NAMES}),
    (layer("LSTM", units=3, activation="hard_sigmoid", recurrent_activation="sigmoid"), {}),
    (layer("SimpleRNN", units=3, activation="hard_sigmoid"), {}),
    (layer("Dense", units=3, activation="hard_sigmoid"), {}),
]  # fmt: skip


@pytest.mark.parametrize(("config", "expected"), CASES)
@pytest.mark.parametrize("factor", [TO_KERAS_3, TO_KERAS_2])
def test_the_columns_of_sigmoid_gates(config, expected, factor):
    model = {"class_name": "Sequential", "config": {"name": "m", "layers": [config]}}
    found = scaled_gates(Architecture(model), factor)
    assert {address: scaled.columns for address, scaled in found.items()} == expected
    assert {scaled.factor for scaled in found.values()} <= {factor}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_columns_are_scaled_in_any_range(dtype):
    values = np.random.default_rng(0).standard_normal((2, 5, 12)).astype(dtype)
    expected = values.astype("float32")
    expected[..., 0:6] *= np.float32(1.2)
    expected[..., 9:12] *= np.float32(1.2)
    expected = expected.astype(dtype)
    tensor = Mapped(constant(values), scaled_columns(12, ((0, 6), (9, 12)), TO_KERAS_3))
    np.testing.assert_array_equal(tensor.numpy(), expected)
    np.testing.assert_array_equal(tensor.read(7, 101), expected.reshape(-1)[7:101])
