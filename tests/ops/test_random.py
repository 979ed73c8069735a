"""Random ops: the moments of what is drawn, and that nothing else changes it."""

import math

import ml_dtypes
import numpy as np
import pytest

import surgery
from surgery.weights.model import Model
from surgery.weights.tensor import CHUNK, constant
from surgery.weights.weight import Weight
from tests.conftest import dense_model

SIZE = 1 << 18


def zeros(*shape, dtype=np.float32):
    return Model((Weight("w/kernel", constant(np.zeros(shape or (SIZE,), dtype))),))


def drawn(model):
    return model["w/kernel"].tensor.numpy()


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize("std", [0.01, 3.0])
def test_noise_has_its_moments(distribution, std):
    noise = drawn(surgery.noise(zeros(), "**", std=std, distribution=distribution, seed=5))
    # Five standard errors of the mean, of the deviation and of the kurtosis.
    kurtosis = {"normal": 3.0, "uniform": 1.8}[distribution]
    assert abs(noise.mean()) < 5 * std / math.sqrt(SIZE)
    assert abs(noise.std() / std - 1) < 5 * math.sqrt((kurtosis - 1) / 4 / SIZE)
    assert abs(((noise / std) ** 4).mean() - kurtosis) < 5 * math.sqrt(96 / SIZE)
    if distribution == "uniform":
        assert np.abs(noise).max() <= std * math.sqrt(3) * 1.0001


def test_relative_noise_is_a_share_of_the_weight_s_own_deviation():
    values = np.random.default_rng(0).standard_normal(SIZE).astype(np.float32) * 7 + 100
    model = Model((Weight("w/kernel", constant(values)),))
    noisy = drawn(surgery.noise(model, "**", relative_std=0.1))
    assert abs((noisy - values).std() / (0.1 * values.std()) - 1) < 0.01


@pytest.mark.parametrize("op", ["noise", "reinitialize", "zero"])
def test_it_depends_on_seed_and_address_only(op):
    keys = {"noise": {"std": 1}, "zero": {"random": "50%"},
            "reinitialize": {"initializer": "HeNormal"}}[op]  # fmt: skip
    ones = constant(np.ones((2 * CHUNK + 5,), np.float32))
    model = Model((Weight("a/kernel", ones), Weight("b/kernel", ones)))
    one = getattr(surgery, op)(model, "**", **keys)
    two = getattr(surgery, op)(model, "**", **keys)
    other = getattr(surgery, op)(model, "**", seed=1, **keys)
    first, second = (w.tensor.numpy() for w in one.weights)
    assert np.array_equal(first, two["a/kernel"].tensor.numpy())
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other["a/kernel"].tensor.numpy())
    # Read in pieces, it is the same.
    tensor = one["a/kernel"].tensor
    pieces = [(0, 3), (3, CHUNK - 1), (CHUNK - 1, CHUNK + 7), (CHUNK + 7, 2 * CHUNK + 5)]
    assert np.array_equal(np.concatenate([tensor.read(*piece) for piece in pieces]), first)


def test_an_unrelated_step_before_changes_no_byte(tmp_path):
    path = dense_model(tmp_path, "m.keras")
    steps = [
        {"noise": {"select": "a", "std": 0.1}},
        {"reinitialize": {"select": "b/kernel", "initializer": "LecunNormal"}},
        {"zero": {"select": "a/kernel", "random": "30%"}},
    ]
    found = []
    for before in ([], [{"scale": {"select": "b/bias", "by": 3}}], [{"freeze": {"select": "b"}}]):
        recipe = {"surgery": 1, "seed": 3, "load": str(path), "steps": [*before, *steps],
                  "export": [{"npy": str(tmp_path / "out")}]}  # fmt: skip
        surgery.run(recipe)
        changed = ("a/kernel", "a/bias", "b/kernel")
        found.append([np.load(tmp_path / "out" / f"{name}.npy").tobytes() for name in changed])
    assert found[0] == found[1] == found[2]


INITIALIZERS = [
    ("HeNormal", {}, (400, 300), math.sqrt(2 / 400)),
    ("GlorotUniform", {}, (400, 300), math.sqrt(2 / 700)),
    ("LecunNormal", {}, (3, 3, 50, 60), math.sqrt(1 / 450)),
    ("RandomNormal", {"mean": 1.0, "stddev": 0.2}, (400, 300), 0.2),
    ("RandomUniform", {"minval": -2, "maxval": 4}, (400, 300), 6 / math.sqrt(12)),
    ("TruncatedNormal", {"stddev": 0.5}, (400, 300), 0.5 * 0.87962566103423978),
    ("VarianceScaling", {"scale": 2.0, "mode": "fan_out"}, (400, 300), math.sqrt(2 / 300)),
]


@pytest.mark.parametrize(("name", "arguments", "shape", "std"), INITIALIZERS)
def test_reinitialize_has_the_initialiser_s_moments(name, arguments, shape, std):
    values = drawn(
        surgery.reinitialize(zeros(*shape), "**", initializer=name, arguments=arguments or None)
    )
    mean = {"RandomUniform": 1.0}.get(name, arguments.get("mean", 0.0))
    assert abs(values.mean() - mean) < 5 * std / math.sqrt(values.size)
    assert abs(values.std() / std - 1) < 5 / math.sqrt(values.size)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_random_zeros_are_exactly_as_many(dtype):
    model = Model((Weight("w/kernel", constant(np.ones(100_001, dtype))),))
    assert np.count_nonzero(drawn(surgery.zero(model, "**", random="29%")) == 0) == 29_000
    many = zeros(5 * CHUNK)
    many = surgery.shift(many, "**", by=1)
    found = drawn(surgery.zero(many, "**", random="10%"))
    assert np.count_nonzero(found == 0) == CHUNK // 2
    parts = found.reshape(5, -1)
    assert all(abs(np.count_nonzero(part == 0) - CHUNK / 10) < 5 * 310 for part in parts)


@pytest.mark.parametrize("shape", [(40, 30), (30, 40), (3, 3, 5, 20)])
def test_orthogonal_and_identity(shape):
    found = drawn(surgery.reinitialize(zeros(*shape), "**", initializer="Orthogonal", seed=2))
    matrix = found.reshape(-1, shape[-1])
    product = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-5)
    if len(shape) == 2:
        found = drawn(surgery.reinitialize(zeros(*shape), "**", initializer="Identity"))
        assert np.array_equal(found, np.eye(*shape))
