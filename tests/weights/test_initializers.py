import math

import numpy as np
import pytest

from surgery.errors import SurgeryError
from surgery.weights.initializers import initialized
from surgery.weights.tensor import CHUNK

SHAPE = (3, 3, 256, 600)  # more than one chunk
FAN_IN, FAN_OUT = 9 * 256, 9 * 600


def drawn(name, config=None, seed=1, address="a/kernel", shape=SHAPE):
    return initialized(name, config or {}, shape, np.dtype(np.float32), seed, "load", address)


@pytest.mark.parametrize(
    ("name", "config", "std", "limit"),
    [
        ("GlorotUniform", {}, math.sqrt(2 / (FAN_IN + FAN_OUT)), math.sqrt(6 / (FAN_IN + FAN_OUT))),
        ("HeNormal", {}, math.sqrt(2 / FAN_IN), 2 * math.sqrt(2 / FAN_IN) / 0.8796256610342398),
        ("LecunUniform", {}, math.sqrt(1 / FAN_IN), math.sqrt(3 / FAN_IN)),
        ("RandomUniform", {"minval": -1, "maxval": 1}, math.sqrt(1 / 3), 1),
        ("RandomNormal", {"stddev": 0.5}, 0.5, 5),
        ("TruncatedNormal", {"stddev": 0.5}, 0.5 * 0.8796256610342398, 1.0000001),
        (
            "VarianceScaling",
            {"scale": 2.0, "mode": "fan_out", "distribution": "untruncated_normal"},
            math.sqrt(2 / FAN_OUT),
            1,
        ),
    ],
)
def test_moments(name, config, std, limit):
    values = drawn(name, config).numpy()
    count = values.size
    assert abs(values.mean()) < 5 * std / math.sqrt(count)
    assert abs(values.std() / std - 1) < 5 / math.sqrt(count)
    assert np.abs(values).max() <= limit


def test_constants():
    assert (drawn("Ones", shape=(3,)).numpy() == 1).all()
    assert (drawn("Zeros", shape=(3,)).numpy() == 0).all()
    assert (drawn("Constant", {"value": 7}, shape=()).numpy() == 7).all()


def test_depends_on_seed_and_address_and_on_nothing_else():
    whole = drawn("GlorotUniform").numpy().reshape(-1)
    again = drawn("GlorotUniform")
    assert (again.read(CHUNK, CHUNK + 99) == whole[CHUNK : CHUNK + 99]).all()
    assert (again.read(5, CHUNK + 5) == whole[5 : CHUNK + 5]).all()
    assert (drawn("GlorotUniform", seed=2).read(0, 99) != whole[:99]).all()
    assert (drawn("GlorotUniform", address="b/kernel").read(0, 99) != whole[:99]).all()
    assert (whole[:99] != whole[CHUNK : CHUNK + 99]).all()


def test_an_unknown_initialiser_is_an_error():
    with pytest.raises(SurgeryError, match="the initialiser Mine is unknown"):
        drawn("Mine")
