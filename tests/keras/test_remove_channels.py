"""Fewer channels: Keras loads a smaller model that equals the old one whose readers see zeros."""

import collections
import os
import warnings

import numpy as np
import pytest

import surgery
from surgery.architecture.graph import parse
from surgery.architecture.shapes import model_shapes
from surgery.errors import RecipeError, SelectorError
from surgery.structure import families_of, traced
from surgery.weights.tensor import FunctionTensor
from tests.keras.nets import loaded, opened, randomised
from tests.keras.random_structures import functional
from tests.keras.structures import randomise
from tests.structure import oracle
from tests.structure.nets import NETS, RandomNet, nets

RANDOM = int(os.environ.get("SURGERY_RANDOM_CHANNELS", "10"))
ALL = {"select": "**", "through_norms": "allow"}


def removed(keras, theirs, folder, **keys):
    """Check a removal against the oracle; return surgery's model and what Keras loads of it."""
    before = opened(theirs, folder)
    after = surgery.remove_channels(before, **keys)
    new = loaded(keras, after, folder)
    assert after.parameters == new.count_params() <= theirs.count_params()
    data = oracle.inputs(theirs)
    mine = oracle.predicted(new, data)
    expected = oracle.predicted(oracle.reference(before, theirs, keys), data)
    assert oracle.difference(expected, mine) < 1e-4
    return after, new


@pytest.mark.parametrize("name", NETS)
def test_a_cut_equals_the_mask(name, keras, tmp_path):
    theirs = randomise(nets(keras)[name]())
    data = oracle.inputs(theirs)
    old = oracle.predicted(theirs, data)
    after, new = removed(keras, theirs, tmp_path, **ALL, amount="40%")
    assert new.count_params() < theirs.count_params()
    assert oracle.difference(old, oracle.predicted(new, data)) > 0.005
    there = {layer.name: layer for layer in functional(keras, new).operations}
    for ref, shape in parse(after.architecture.config).shapes.items():
        if ref.call == 0 and not isinstance(there[ref.layer], keras.Model):
            made = keras.tree.flatten(there[ref.layer]._inbound_nodes[0].output_tensors)
            assert made[ref.tensor].shape == shape, ref


@pytest.mark.parametrize("name", ["ResNet50", "MobileNetV2", "DenseNet121"])
def test_applications(name, keras, tmp_path):
    build = getattr(keras.applications, name)
    theirs = build(weights=None, input_shape=(64, 64, 3), classifier_activation=None)
    planned = {"ResNet50": 13_069_281, "MobileNetV2": 2_034_984, "DenseNet121": 4_293_575}
    _, new = removed(keras, randomised(theirs), tmp_path, **ALL, amount="30%")
    assert new.count_params() == planned[name]


@pytest.mark.parametrize("odd", [False, True])
def test_random_nets(odd, keras, tmp_path):
    """Equal, or nothing removed with a reason: never another model. Counts are printed."""
    counts = collections.Counter()
    for seed in range(RANDOM):
        keras.backend.clear_session()
        theirs = randomise(RandomNet(keras, seed, odd).model(), seed)
        amount = np.random.default_rng(seed).uniform(0.2, 0.7)
        keys = {"select": "**", "amount": f"{amount:.2f}"}
        if not free(opened(theirs, tmp_path)):
            with pytest.raises(SelectorError, match="none of the channels can be removed"):
                surgery.remove_channels(opened(theirs, tmp_path), **keys)
            counts["nothing free"] += 1
            continue
        after, _ = removed(keras, theirs, tmp_path, **keys)
        counts["removed" if after.parameters < theirs.count_params() else "nothing removed"] += 1
    print(dict(counts))
    assert counts["removed"] >= 0.6 * RANDOM


def free(model):
    families = families_of(traced(model.architecture).labels).families
    return sum(family.free.size for family in families)


def two(keras):
    """Two families of 8 and 6 channels, and an output of 3."""
    layers = keras.layers
    return randomised(
        keras.Sequential(
            [
                keras.Input((6, 6, 2)),
                layers.Conv2D(8, 3, name="a"),
                layers.BatchNormalization(name="norm"),
                layers.Conv2D(6, 3, name="b"),
                layers.Flatten(),
                layers.Dense(3, name="out"),
            ]
        )
    )


def sizes(model):
    return [model["a/kernel"].shape[-1], model["b/kernel"].shape[-1]]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"select": "**", "amount": "30%"}, [6, 5]),
        ({"select": "a", "amount": "30%"}, [6, 6]),
        ({"select": "**", "amount": "100%"}, [1, 1]),
        ({"select": "**", "amount": "100%", "at_least": 3}, [3, 3]),
        ({"select": "**", "amount": "30%", "round_to": 4}, [8, 6]),
        ({"select": "**", "amount": "50%", "round_to": 4}, [4, 4]),
        ({"select": "**", "keep": 5}, [5, 5]),
        ({"select": "**", "keep": 7}, [7, 6]),
        ({"select": "a", "indices": [0, 3, 7]}, [5, 6]),
        ({"select": "a", "indices": [1], "at_least": 7}, [7, 6]),
    ],
)
def test_how_many_go(keys, expected, keras, tmp_path):
    after, _ = removed(keras, two(keras), tmp_path, **keys)
    assert sizes(after) == expected


@pytest.mark.parametrize("by", ["l1", "l2", "bn_scale"])
def test_the_lowest_scores_go(by, keras, tmp_path):
    before = opened(two(keras), tmp_path)
    after = surgery.remove_channels(before, "a", amount="50%", by=by)
    kernel, gamma = before["a/kernel"].numpy(), before["norm/gamma"].numpy()
    score = {
        "l1": np.abs(kernel).sum((0, 1, 2)),
        "l2": (kernel**2).sum((0, 1, 2)),
        "bn_scale": np.abs(gamma),
    }[by]
    stay = np.sort(np.argsort(score)[4:])
    np.testing.assert_array_equal(after["a/kernel"].numpy(), kernel[..., stay])
    np.testing.assert_array_equal(after["a/bias"].numpy(), before["a/bias"].numpy()[stay])
    np.testing.assert_array_equal(after["norm/gamma"].numpy(), gamma[stay])
    old = before["b/kernel"].numpy()
    np.testing.assert_array_equal(after["b/kernel"].numpy(), old[:, :, stay])


def test_equal_scores_go_from_the_first_on(keras, tmp_path):
    before = surgery.set(opened(two(keras), tmp_path), "a/kernel", to=1.0)
    after = surgery.remove_channels(before, "a", amount="25%")
    np.testing.assert_array_equal(after["a/bias"].numpy(), before["a/bias"].numpy()[2:])


def test_random_channels_by_seed(keras, tmp_path):
    before = opened(two(keras), tmp_path)
    found = [
        surgery.remove_channels(before, "a", amount="50%", by="random", seed=seed)["a/bias"].numpy()
        for seed in (0, 0, 1, 2)
    ]
    np.testing.assert_array_equal(found[0], found[1])
    assert any((found[0] != other).any() for other in found[2:])


def test_channels_of_all_families_compete(keras, tmp_path):
    before = surgery.scale(opened(two(keras), tmp_path), "b/kernel", by=100.0)
    after = surgery.remove_channels(before, "**", amount="50%", scope="global")
    scores = [np.abs(before[f"{n}/kernel"].numpy()).sum((0, 1, 2)) for n in "ab"]
    both = np.concatenate([each / each.mean() for each in scores])
    low = np.argsort(both)[:7]
    assert sizes(after) == [8 - (low < 8).sum(), 6 - (low >= 8).sum()]


@pytest.mark.parametrize("budget", ["flops", "parameters", "bytes"])
@pytest.mark.parametrize("scope", ["family", "global"])
@pytest.mark.parametrize("share", ["70%", "40%"])
def test_budgets_are_reached_from_above(budget, scope, share, keras, tmp_path):
    def cost(model):
        if budget == "flops":
            return model_shapes(model.architecture.config).total
        return model.parameters if budget == "parameters" else model.nbytes

    before = opened(two(keras), tmp_path)
    after = surgery.remove_channels(before, "**", scope=scope, **{budget: share})
    limit = float(share.rstrip("%")) / 100 * cost(before)
    assert cost(after) <= limit
    a, b = sizes(after)
    more = [
        surgery.remove_channels(before, "a", keep=a + 1) if a < 8 else before,
        surgery.remove_channels(before, "b", keep=b + 1) if b < 6 else before,
    ]
    larger = [
        surgery.remove_channels(more[0], "b", keep=b) if b < 6 else more[0],
        surgery.remove_channels(more[1], "a", keep=a) if a < 8 else more[1],
    ]
    assert max(map(cost, larger)) > limit


@pytest.mark.parametrize(
    ("keys", "error", "message"),
    [
        ({"select": "a"}, RecipeError, "give one of amount, keep, indices, flops"),
        ({"select": "a", "amount": 0.1, "keep": 3}, RecipeError, "give one of amount"),
        ({"select": "a", "keep": 3, "scope": "global"}, RecipeError, "keep is for scope: family"),
        ({"select": "norm", "keep": 3}, SelectorError, "norm names no layer that makes channels"),
        ({"select": "out", "keep": 2}, SelectorError,
         r"none of the channels can be removed: 3 channels must stay: out \(they are outputs"),
        ({"select": "**", "keep": 2, "fixed": "error"}, SelectorError,
         r"3 channels must stay: out .*; say fixed: skip"),
        ({"select": "b", "amount": 0.5, "by": "bn_scale"}, SelectorError,
         "b has no BatchNormalization with a gamma"),
        ({"select": "a", "indices": [8]}, SelectorError, "a has 8 channels, and no 8"),
        ({"select": "**", "indices": [0]}, SelectorError, "indices is for one layer"),
        ({"select": "a", "indices": list(range(8))}, SelectorError, "a would have fewer channels"),
        ({"select": "out", "indices": [0]}, SelectorError, "3 channels must stay"),
        ({"select": "a", "parameters": 10}, SelectorError, "no more than 10 cannot be reached"),
    ],
)  # fmt: skip
def test_what_is_refused(keys, error, message, keras, tmp_path):
    with pytest.raises(error, match=message):
        surgery.remove_channels(opened(two(keras), tmp_path), **keys)


def test_norms_and_softmax_hold_channels_unless_allowed(keras, tmp_path):
    layers = keras.layers
    net = keras.Sequential(
        [
            keras.Input((5,)),
            layers.Dense(8, name="a"),
            layers.LayerNormalization(name="norm"),
            layers.Dense(6, activation="softmax", name="b"),
            layers.Dense(4, name="c"),
            layers.Dense(2),
        ]
    )
    before = opened(randomised(net), tmp_path)
    after = surgery.remove_channels(before, "**", amount="50%")
    assert [after[f"{n}/kernel"].shape[-1] for n in "abc"] == [8, 6, 2]
    assert "a (norm (LayerNormalization) looks at these channels together)" in after.notes[-1]
    assert "b (b (Dense) looks at these channels together)" in after.notes[-1]
    after = surgery.remove_channels(before, "**", amount="50%", through_norms="allow")
    assert [after[f"{n}/kernel"].shape[-1] for n in "abc"] == [4, 3, 2]


def test_int8_keeps_its_scales(keras, tmp_path):
    layers = keras.layers
    stack = [layers.Dense(8, activation="relu", name="a"), layers.Dense(6, name="b")]
    net = randomised(keras.Sequential([keras.Input((5,)), *stack, layers.Dense(2)]))
    net.quantize("int8")
    before = opened(net, tmp_path)
    after = surgery.remove_channels(before, "**", amount="50%", by="random")
    assert after["a/kernel_scale"].shape == (4,)
    new = loaded(keras, after, tmp_path)
    keys = {"select": "**", "amount": "50%", "by": "random"}
    data = oracle.inputs(net)
    mine = oracle.predicted(new, data)
    assert (
        oracle.difference(oracle.predicted(oracle.reference(before, net, keys), data), mine) < 0.02
    )


def test_a_trained_model_trains_on(keras, tmp_path):
    """Slots follow their weights, a frozen layer stays frozen, and the planning reads no weight."""
    theirs = two(keras)
    theirs.get_layer("b").trainable = False
    theirs.compile(keras.optimizers.Adam(0.01), "mse")
    x, y = np.ones((4, 6, 6, 2), "float32"), np.zeros((4, 3), "float32")
    theirs.fit(x, y, verbose=0)
    before = opened(theirs, tmp_path)
    after = surgery.remove_channels(before, "**", amount="50%")
    kept = np.isin(before["a/bias"].numpy(), after["a/bias"].numpy())
    for (name, old), (_, new) in zip(before["a/bias"].slots, after["a/bias"].slots, strict=True):
        np.testing.assert_array_equal(old.numpy()[kept], new.numpy(), err_msg=name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        new = loaded(keras, after, tmp_path)
    assert not new.get_layer("b").trainable
    assert int(new.optimizer.iterations) == 1
    new.fit(x, y, verbose=0)


def test_notes_say_what_was_done(keras, tmp_path):
    after = surgery.remove_channels(opened(two(keras), tmp_path), "**", amount="50%")
    assert after.notes == (
        "remove_channels: 10 of 17 channels stay, parameters 697 -> 242, FLOPs 8,619 -> 3,447",
        "2 families have fewer channels: a 8 -> 4, b 6 -> 3",
        "3 channels must stay: out (they are outputs of the model)",
    )


def unread(start, stop):
    raise AssertionError("a weight is read")


@pytest.mark.parametrize(
    "keys",
    [{"amount": "50%"}, {"keep": 3}, {"flops": "50%"}, {"parameters": "50%"}, {"bytes": "50%"},
     {"amount": "50%", "by": "bn_scale", "select": "a"}],
)  # fmt: skip
def test_planning_reads_no_weight(keys, keras, tmp_path):
    model = opened(two(keras), tmp_path)
    after = surgery.remove_channels(model, **{"select": "**", **keys})
    closed = model.with_weights(
        w.with_tensor(FunctionTensor(w.shape, w.dtype, unread)) for w in model.weights
    )
    planned = surgery.remove_channels(closed, **{"select": "**", **keys})
    assert [w.shape for w in planned.weights] == [w.shape for w in after.weights]


def test_lora_in_a_file_of_keras_2s_kind(keras, tmp_path):
    """`.h5` has LoRA's matrices by themselves, `.keras` has them in the kernel."""
    layers = keras.layers
    stack = [layers.Dense(8, activation="relu", name="a"), layers.Dense(6, name="b")]
    theirs = randomised(keras.Sequential([keras.Input((5,)), *stack]))
    for layer in stack:
        layer.enable_lora(2)
    randomised(theirs, 1)
    found = []
    for name in ("m.h5", "m.keras"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs.save(tmp_path / name)
        after = surgery.remove_channels(surgery.open(tmp_path / name), "a", indices=[1, 4])
        surgery.save(after, **{name[2:]: tmp_path / f"new_{name}"})
        new = keras.models.load_model(tmp_path / f"new_{name}", compile=False)
        found.append(oracle.predicted(new, oracle.inputs(theirs)))
    assert oracle.difference(*found) < 1e-5


@pytest.mark.parametrize("name", ["c", "a"])
def test_indices_of_a_layer_inside_another(name, keras, tmp_path):
    theirs = randomise(nets(keras)["words" if name == "c" else "spectral"]())
    after, _ = removed(keras, theirs, tmp_path, select=name, indices=[0, 2])
    old = opened(theirs, tmp_path)
    found = [(w.shape, old[w.address].shape) for w in after.weights if w.variable == "bias"]
    assert [before[0] - now[0] for now, before in found].count(2) == 1


def test_a_nested_input_has_the_new_shape(keras, tmp_path):
    theirs = randomise(nets(keras)["nested"]())
    _, new = removed(keras, theirs, tmp_path, select="encoder/b", keep=5)
    assert new.get_layer("head").input.shape == (None, 5)
    assert new.get_layer("encoder").output.shape[-1] == 5


def test_a_custom_layer_holds_what_it_is_given(keras, tmp_path):
    @keras.saving.register_keras_serializable("channels")
    class Turned(keras.layers.Layer):
        def call(self, x):
            return x[..., ::-1], keras.ops.sum(x, -1)

    layers = keras.layers
    given = keras.Input((5,))
    x = layers.Dense(8, name="b")(layers.Dense(6, name="a")(given))
    one, total = Turned(name="turned")(x)
    theirs = randomised(keras.Model(given, [layers.Dense(4, name="c")(one), total]))
    after, _ = removed(keras, theirs, tmp_path, select="**", amount="50%")
    assert [after[f"{n}/kernel"].shape[-1] for n in "abc"] == [3, 8, 4]
    assert "b (turned (Turned) has no rule for what it does with channels)" in str(after.notes)
