"""Channels of layers whose configs say more than a rule knows: they stay."""

import numpy as np
import pytest

import surgery
from surgery.errors import SurgeryError


def net(keras, middle, shape=(4, 4, 3), data_format="channels_last"):
    x = inputs = keras.Input(shape)
    x = keras.layers.Conv2D(8, 1, data_format=data_format, name="c")(x)
    x = middle(x)
    x = keras.layers.Conv2D(2, 1, data_format=data_format, name="d")(x)
    return keras.Model(inputs, x)


def norm(x):
    return x


def test_channels_that_numbers_are_for_stay(keras, tmp_path):
    dropout = keras.layers.Dropout(0.5, noise_shape=(None, 1, 1, 8))
    net(keras, dropout).save(tmp_path / "m.keras")
    with pytest.raises(SurgeryError, match="must stay"):
        surgery.remove_channels(surgery.open(tmp_path / "m.keras"), "c", amount="50%")


def test_an_activation_that_is_not_known_may_act_along_any_axis(keras, tmp_path):
    keras.saving.register_keras_serializable("odd")(norm)
    middle = keras.layers.Activation(norm)
    net(keras, middle, (3, 4, 4), "channels_first").save(tmp_path / "m.keras")
    with pytest.raises(SurgeryError, match="must stay"):
        surgery.remove_channels(surgery.open(tmp_path / "m.keras"), "c", amount="50%")


def test_a_grouped_convolution_with_lora(keras, tmp_path):
    x = inputs = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(8, 1, name="c")(x)
    grouped = keras.layers.Conv2D(8, 1, groups=2, name="g")
    model = keras.Model(inputs, grouped(x))
    grouped.enable_lora(2)
    model.save(tmp_path / "m.h5")
    cut = surgery.remove_channels(surgery.open(tmp_path / "m.h5"), "c", amount="50%")
    assert cut["g/lora_kernel_a"].shape[:-1] == cut["g/kernel"].shape[:-1]
    assert np.isfinite(cut["g/lora_kernel_a"].numpy()).all()
