"""Layers in two, by singular value decomposition: Keras loads them, and they are what they must."""

import numpy as np
import pytest

import surgery
from surgery.architecture.graph import Ref, parse
from surgery.errors import ExpectationError, RecipeError, SelectorError
from surgery.weights import tensor
from tests.keras.nets import distance, inputs, loaded, opened, randomised

IMAGE, ROW, SERIES = (9, 8, 4), (6,), (9, 4)
NETS = {
    "dense": (ROW, "channel", lambda of: of.Dense(9, activation="tanh", name="k")),
    "tall dense": (ROW, "channel", lambda of: of.Dense(4, use_bias=False, name="k")),
    "dense of a series": (SERIES, "channel", lambda of: of.Dense(7, name="k")),
    "conv": (IMAGE, "channel", lambda of: of.Conv2D(7, 3, activation="relu", name="k")),
    "strides": (IMAGE, "channel", lambda of: of.Conv2D(7, 3, strides=2, padding="same", name="k")),
    "dilated": (IMAGE, "channel", lambda of: of.Conv2D(50, (2, 3), dilation_rate=2, name="k")),
    "1x1": (IMAGE, "channel", lambda of: of.Conv2D(3, 1, name="k")),
    "causal": (SERIES, "channel", lambda of: of.Conv1D(5, 3, padding="causal", name="k")),
    "3d": ((4, 4, 4, 2), "channel", lambda of: of.Conv3D(3, 2, name="k")),
    "spatial": (IMAGE, "spatial", lambda of: of.Conv2D(7, 3, activation="relu", name="k")),
    "spatial strides": (IMAGE, "spatial", lambda of: of.Conv2D(
        2, (3, 5), strides=2, padding="same", name="k")),
    "spatial dilated": (IMAGE, "spatial", lambda of: of.Conv2D(7, 3, dilation_rate=2, name="k")),
}  # fmt: skip


@pytest.fixture(params=NETS)
def net(request, keras):
    shape, kind, layer = NETS[request.param]
    layers = [keras.Input(shape), layer(keras.layers), keras.layers.LeakyReLU()]
    return randomised(keras.Sequential(layers)), kind


def matrix_of(kernel, kind):
    if kind == "channel" or kernel.ndim == 2:
        return kernel.reshape(-1, kernel.shape[-1])
    height, width, given, made = kernel.shape
    return kernel.transpose(0, 2, 1, 3).reshape(height * given, width * made)


def test_full_rank_predicts_as_before(net, keras, tmp_path):
    theirs, kind = net
    before = opened(theirs, tmp_path)
    rank = min(matrix_of(before["k/kernel"].numpy(), kind).shape)
    after = surgery.factorize(before, "k", rank=rank, kind=kind)
    new = loaded(keras, after, tmp_path)
    assert [layer.name for layer in new.layers][:2] == ["k_factor", "k"]
    surgery.insert(after, after="k_factor", layer="ReLU")  # for which its shape must be known
    shapes = parse(after.architecture.config).shapes
    assert shapes[Ref("k_factor")] == new.get_layer("k_factor").output.shape
    assert distance(theirs, new, inputs(theirs)) <= 1e-6
    assert not new.get_layer("k_factor").use_bias
    assert new.get_layer("k").use_bias == theirs.get_layer("k").use_bias
    with pytest.raises(SelectorError, match=f"a rank of at most {rank}, and rank is {rank + 1}"):
        surgery.factorize(before, "k", rank=rank + 1, kind=kind)


@pytest.mark.parametrize("rank", [1, 2])
def test_no_lower_rank_is_closer(net, rank, tmp_path):
    """Eckart and Young: what is lost is the norm of the singular values left out."""
    theirs, kind = net
    before = opened(theirs, tmp_path)
    after = surgery.factorize(before, "k", rank=rank, kind=kind)
    old = matrix_of(before["k/kernel"].numpy(), kind).astype(float)
    first, second = after["k_factor/kernel"].numpy(), after["k/kernel"].numpy()
    if kind == "spatial":
        second = second.swapaxes(1, 2)
    product = first.reshape(-1, rank).astype(float) @ second.reshape(rank, -1)
    lost = np.linalg.svd(old, compute_uv=False)[rank:]
    assert np.linalg.norm(old - product) == pytest.approx(np.linalg.norm(lost), rel=1e-5)
    used = np.abs(first).max() / np.abs(second).max()
    assert 0.05 < used < 20  # neither is much larger than the other


def test_energy(net, tmp_path):
    theirs, kind = net
    before = opened(theirs, tmp_path)
    values = np.linalg.svd(matrix_of(before["k/kernel"].numpy(), kind).astype(float))[1] ** 2
    for share in (0.3, 0.8, 0.99, 1):
        after = surgery.factorize(before, "k", energy=share, kind=kind)
        rank = after["k_factor/kernel"].shape[-1]
        assert values[:rank].sum() >= share * values.sum() * (1 - 1e-12)
        assert values[: rank - 1].sum() < share * values.sum()


def test_energy_in_a_recipe(keras, tmp_path):
    """The plan has the highest rank; the run, and what is expected of it, the real one."""
    theirs = randomised(keras.Sequential([keras.Input((30,)), keras.layers.Dense(20, name="k")]))
    before = opened(theirs, tmp_path)
    rank = surgery.factorize(before, "k", energy="60%")["k_factor/kernel"].shape[-1]
    assert 1 < rank < 10
    recipe = {
        "surgery": 1,
        "load": str(tmp_path / "before.keras"),
        "steps": [
            {"scale": {"select": "k/kernel", "by": 2}},
            {"factorize": {"select": "k", "energy": "60%"}},
        ],
        "expect": [{"parameters": {"select": "**", "exactly": 30 * rank + 20 * rank + 20}}],
        "export": [{"keras": str(tmp_path / "after.keras")}],
    }
    assert surgery.plan(recipe).model["k_factor/kernel"].shape == (30, 20)
    result = surgery.run(recipe)
    (_, scaled), _ = result.effects()
    assert scaled.changed == 600
    new = keras.models.load_model(tmp_path / "after.keras")
    assert new.get_layer("k_factor").units == rank
    recipe["expect"][0]["parameters"]["exactly"] += 1
    with pytest.raises(ExpectationError, match=f"{50 * rank + 20} parameters, expected"):
        surgery.run(recipe)


def test_what_refers_to_the_layer_stands(keras, tmp_path):
    """Two calls, a branch, a nested model, an output; the optimizer goes on."""
    layers = keras.layers
    given = keras.Input((6,))
    inner = keras.Model(given, layers.Dense(5, name="k", trainable=False)(given), name="inner")
    one, two = keras.Input((6,), name="one"), keras.Input((6,), name="two")
    both = layers.Dense(5, activation="relu", name="k")
    parts = [both(one), both(two), inner(one)]
    out = layers.Dense(4, name="out")(layers.Add()(parts))
    theirs = randomised(keras.Model([one, two], [out, parts[1]]))
    theirs.compile("adam", {"out": "mse", "k": "mae"})
    rng = np.random.default_rng(0)
    x = [rng.random((8, 6)).astype("float32") for _ in range(2)]
    y = [rng.random((8, size)).astype("float32") for size in (4, 5)]
    theirs.fit(x, y, verbose=0)
    before = opened(theirs, tmp_path)
    after = surgery.factorize(before, ["k", "inner/k", "out"], rank=4)
    assert after.notes[0] == "k: rank 4 of 5; the kernel's 30 parameters become 44"
    new = loaded(keras, after, tmp_path)
    assert set(new.loss) == {"out", "k"}
    assert int(new.optimizer.iterations) == 1
    assert not new.get_layer("inner").get_layer("k_factor").trainable
    new.fit(x, y, verbose=0)
    again = surgery.factorize(before, ["k", "inner/k"], rank=5)
    assert distance(theirs, loaded(keras, again, tmp_path), x) <= 1e-6


def test_refuses(keras, tmp_path):
    layers = keras.layers
    theirs = keras.Sequential([
        keras.Input((8, 8, 4)), layers.DepthwiseConv2D(3, name="deep"),
        layers.Conv2D(8, 3, groups=2, name="grouped"), layers.Conv2D(3, 1, name="conv"),
        layers.Conv2D(3, 1, name="conv_factor"), layers.Reshape((4, 12)),
        layers.Conv1D(3, 1, name="line"),
    ])  # fmt: skip
    before = opened(theirs, tmp_path)
    for selected, kind, message in (
        ("deep", "channel", r"deep \(DepthwiseConv2D\) is not factorized: it is no Dense"),
        ("grouped", "channel", "it has groups"),
        ("line", "spatial", "kind: spatial is for Conv2D"),
        ("conv", "channel", "there is a layer called conv_factor already; rename it first"),
    ):
        with pytest.raises(SelectorError, match=message):
            surgery.factorize(before, selected, rank=1, kind=kind)
    with pytest.raises(RecipeError, match="give rank or energy, one of them"):
        surgery.factorize(before, "conv", rank=1, energy=0.5)


@pytest.mark.parametrize("shape", [(3, 5), (7, 4), (40, 3)])
def test_in_any_chunks(shape, monkeypatch, tmp_path):
    from tests.conftest import dense_layers

    model = dense_layers(["k"], shape)
    old = model["k/kernel"].numpy()
    after = surgery.factorize(model, "k", rank=min(shape))
    monkeypatch.setattr("surgery.ops._low_rank.CHUNK", 9)
    monkeypatch.setattr(tensor, "CHUNK", 2)
    product = after["k_factor/kernel"].numpy() @ after["k/kernel"].numpy()
    np.testing.assert_allclose(product, old, atol=1e-6)
