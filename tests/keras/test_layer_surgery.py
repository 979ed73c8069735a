"""Layers deleted, replaced and inserted in chains, and in shared and nested models.

These are the scenarios of older tools for Keras, each built twice: once as it is before the step,
once as it should be after it, from the same layers.
"""

import numpy as np
import pytest

import surgery
from tests.keras import structures


@pytest.fixture(scope="module")
def dense(keras):
    """Dense layers by name, the same ones for the model before and the one after."""
    keras.utils.set_random_seed(11)
    made = {}

    def get(name, units=3):
        if name not in made:
            made[name] = keras.layers.Dense(units, name=name)
        return made[name]

    return get


def chain(x, *layers):
    for layer in layers:
        x = layer(x)
    return x


@pytest.fixture
def compare(keras, tmp_path):
    """Checks that what a step makes of a model has the layers, the weights and the outputs of
    another one.
    """

    def check(before, step, expected, drawn=()):
        model, _ = structures.written(keras, structures.randomise(before), tmp_path / "m.keras")
        new = structures.saved(keras, step(model), tmp_path / "new.keras")
        for name in drawn:  # a new layer draws its weights
            expected.get_layer(name).set_weights(new.get_layer(name).get_weights())
        _, expected = structures.written(keras, expected, tmp_path / "expected.keras")
        assert [each.name for each in new.layers] == [each.name for each in expected.layers]
        assert all(map(np.array_equal, new.get_weights(), expected.get_weights()))
        x = structures.inputs_of(keras, expected)
        assert structures.equal(keras, expected(x), new(x))
        ours, theirs = (model.get_config() for model in (new, expected))
        for key in ("input_layers", "output_layers"):
            assert ours[key] == theirs[key]
        assert [layer["inbound_nodes"] for layer in ours["layers"]] == [
            layer["inbound_nodes"] for layer in theirs["layers"]
        ]

    return check


def test_a_layer_of_a_chain_is_deleted(keras, dense, compare):
    image = keras.Input((7, 7, 1), name="image")
    convs = [keras.layers.Conv2D(3, 3, name=f"conv_{n}") for n in range(2)]
    x = chain(image, *convs, keras.layers.Flatten(name="flat"), dense("first"))
    before = keras.Model(image, chain(x, dense("b"), dense("c"), dense("end", 1)))
    after = keras.Model(image, chain(x, dense("c"), dense("end", 1)))
    compare(before, lambda m: surgery.remove(m, "b"), after)


def test_a_layer_that_is_called_twice_is_deleted(keras, dense, compare):
    given = keras.Input((3,), name="given")
    before = keras.Model(given, chain(given, *map(dense, ["a", "b", "c", "b", "d"])))
    after = keras.Model(given, chain(given, *map(dense, ["a", "c", "d"])))
    compare(before, lambda m: surgery.remove(m, "b"), after)


def test_a_layer_before_a_shared_one_is_deleted(keras, dense, compare):
    given = keras.Input((3,), name="given")
    x, y = dense("a")(given), dense("b")(dense("a")(given))
    before = keras.Model(given, [dense("end", 1)(dense("c")(x)), dense("end", 1)(y)])
    after = keras.Model(given, [dense("end", 1)(x), dense("end", 1)(y)])
    compare(before, lambda m: surgery.remove(m, "c"), after)


def test_a_layer_is_replaced(keras, dense, compare):
    image = keras.Input((7, 7, 1), name="image")
    new = keras.layers.Dense(3, activation="relu", name="b")
    before = keras.Model(image, chain(image, dense("r1"), dense("b"), dense("r2", 1)))
    after = keras.Model(image, chain(image, dense("r1"), new, dense("r2", 1)))
    layer = {"Dense": {"units": 3, "activation": "relu"}}
    compare(before, lambda m: surgery.replace(m, "b", layer=layer, weights="new"), after, ["b"])


def test_a_layer_is_inserted_before_another_one(keras, dense, compare):
    image = keras.Input((7, 7, 1), name="image")
    new = keras.layers.Dense(3, name="new")
    x = chain(image, dense("r1"), dense("b"))
    before = keras.Model(image, dense("r2", 1)(x))
    after = keras.Model(image, dense("r2", 1)(new(x)))
    layer = {"Dense": {"units": 3, "name": "new"}}
    compare(before, lambda m: surgery.insert(m, before="r2", layer=layer), after, ["new"])


def test_a_layer_is_inserted_at_every_call_of_a_shared_one(keras, dense, compare):
    one, two = keras.Input((3,), name="one"), keras.Input((3,), name="two")
    new = keras.layers.ReLU(name="new")
    ends = [dense("s")(one), dense("s")(two)]
    before = keras.Model([one, two], [dense("e1", 1)(ends[0]), dense("e2", 1)(ends[1])])
    after = keras.Model([one, two], [dense("e1", 1)(new(ends[0])), dense("e2", 1)(new(ends[1]))])
    layer = {"ReLU": {"name": "new"}}
    compare(before, lambda m: surgery.insert(m, after="s", layer=layer), after)


def inner_model(keras, *layers):
    given = keras.Input((3,), name="inner_given")
    return keras.Model(given, chain(given, *layers), name="inner")


def outer_model(keras, inner, end, calls):
    given = keras.Input((3,), name="given")
    return keras.Model(given, end(chain(given, *[inner] * calls)))


@pytest.mark.parametrize("calls", [1, 2])
def test_layers_inside_a_nested_model(calls, keras, dense, compare):
    end, relu = dense("end", 1), keras.layers.ReLU(name="new")
    before = outer_model(keras, inner_model(keras, dense("x"), dense("y"), dense("z")), end, calls)
    gone = outer_model(keras, inner_model(keras, dense("x"), dense("z")), end, calls)
    compare(before, lambda m: surgery.remove(m, "inner/y"), gone)
    more = inner_model(keras, dense("x"), dense("y"), relu, dense("z"))
    layer = {"ReLU": {"name": "new"}}
    compare(
        before, lambda m: surgery.insert(m, before="inner/z", layer=layer),
        outer_model(keras, more, end, calls),
    )  # fmt: skip
    other = inner_model(keras, dense("x"), keras.layers.ReLU(name="y"), dense("z"))
    compare(
        before, lambda m: surgery.replace(m, "inner/y", layer={"ReLU": {}}),
        outer_model(keras, other, end, calls),
    )  # fmt: skip
    given = keras.Input((3,), name="given")
    compare(before, lambda m: surgery.remove(m, "inner"), keras.Model(given, end(given)))


def test_layers_of_a_nested_sequential_model(keras, dense, compare):
    def outer(*layers):
        inner = keras.Sequential([keras.Input((3,), name="start"), *layers], name="inner")
        given = keras.Input((3,), name="given")
        return keras.Model(given, dense("end", 1)(inner(given)))

    before = outer(dense("x"), dense("y"), dense("z"))
    compare(before, lambda m: surgery.remove(m, "inner/y"), outer(dense("x"), dense("z")))
    relu = keras.layers.ReLU(name="new")
    compare(
        before, lambda m: surgery.insert(m, after="inner/z", layer={"ReLU": {"name": "new"}}),
        outer(dense("x"), dense("y"), dense("z"), relu),
    )  # fmt: skip
