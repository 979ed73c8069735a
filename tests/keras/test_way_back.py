"""Models of Keras 3 as Keras 2 loads them: `for: keras2`."""

import json

import h5py
import numpy as np
import pytest

import surgery
from surgery.architecture.downgrades import downgraded
from surgery.architecture.downgrades.arguments import table
from surgery.errors import RecipeError
from tests.conftest import command, dense_model, values
from tests.keras import keras2_table, way_back

SLOW = {"MobileNet", "EfficientNetB0"}
"""By the script only; their kin is here."""


def test_every_kind_predicts_the_same_in_tf_keras(keras, tmp_path):
    import tf_keras

    kinds = {name: b for name, b in way_back.kinds(keras).items() if name not in SLOW}
    for number, (name, build) in enumerate(kinds.items()):
        (tmp_path / str(number)).mkdir()
        way_back.make(keras, name, build, tmp_path / str(number))
    found = way_back.differences(tf_keras, tmp_path)
    assert {n: way_back.outcome(n, d) for n, d in found.items()} == dict.fromkeys(kinds, "yes")


def test_the_table_is_what_tf_keras_takes(keras):
    import tf_keras

    theirs, ours = keras2_table.ask(tf_keras), table()
    for kind in keras2_table.KINDS:
        for name, row in ours[kind].items():
            assert set(row["takes"]) <= set(theirs[kind][name]["arguments"]), (kind, name)


def tensor(layer, node=0, index=0, shape=(None, 4), dtype="float32"):
    config = {"shape": list(shape), "dtype": dtype, "keras_history": [layer, node, index]}
    return {"class_name": "__keras_tensor__", "config": config}


def graph(class_name, config=(), *args, module="keras.layers", dtype="float32", **kwargs):
    """A model of an input and one layer, called with the input if with nothing else."""
    given = {"name": "x", "batch_shape": [None, 4], "dtype": dtype}
    nodes = [{"args": list(args) or [tensor("x", dtype=dtype)], "kwargs": kwargs}]
    layers = [
        {"module": "keras.layers", "class_name": "InputLayer", "config": given, "name": "x",
         "inbound_nodes": []},
        {"module": module, "class_name": class_name, "config": {"name": "d", **dict(config)},
         "name": "d", "inbound_nodes": nodes},
    ]  # fmt: skip
    config = {"name": "m", "layers": layers, "input_layers": ["x", 0, 0],
              "output_layers": ["d", 0, 0]}  # fmt: skip
    return {"class_name": "Functional", "config": config}


X = ["x", 0, 0]
POLICY = {"class_name": "DTypePolicy", "config": {"name": "mixed_float16"}}
OPS = "keras.src.ops.numpy"
CASES = [
    (graph("Dense", {"units": 3, "dtype": POLICY, "quantization_config": None}),
     {"name": "d", "units": 3, "dtype": "mixed_float16"}, [[[*X, {}]]]),
    (graph("LeakyReLU", {"negative_slope": 0.2}), {"name": "d", "alpha": 0.2}, [[[*X, {}]]]),
    (graph("Dense", {"kernel_initializer": {"module": "keras.initializers",
                     "class_name": "HeNormal", "config": {"seed": 1, "input_axes": None}}}),
     {"name": "d", "kernel_initializer": {"class_name": "HeNormal", "config": {"seed": 1}}},
     [[[*X, {}]]]),
    (graph("Dropout", {"rate": 0.5, "seed": 3}, training=False),
     {"name": "d", "rate": 0.5, "seed": 3}, [[[*X, {"training": False}]]]),
    (graph("MultiHeadAttention", {"num_heads": 2, "key_dim": 3, "seed": 1}, tensor("x"),
           tensor("x"), use_causal_mask=True, query_mask=None),
     {"name": "d", "num_heads": 2, "key_dim": 3, "query_shape": None, "value_shape": None,
      "key_shape": None}, [[[*X, {"value": X, "use_causal_mask": True}]]]),
    (graph("LSTM", {"units": 4}, tensor("x"), [tensor("x"), tensor("x")]),
     {"name": "d", "units": 4}, [[[*X, {"initial_state": [X, X]}]]]),
    (graph("Add", {}, [tensor("x"), tensor("x")]), {"name": "d"}, [[[*X, {}], [*X, {}]]]),
    (graph("ConvLSTM2D", {"filters": 4}),
     {"name": "d", "filters": 4, "recurrent_activation": "sigmoid"}, [[[*X, {}]]]),
    (graph("Multiply", {}, tensor("x"), 2, module=OPS),
     {"name": "d", "trainable": True, "dtype": "float32", "function": "math.multiply"},
     [[*X, {"y": 2.0, "name": None}]]),
    (graph("Subtract", {}, 1, tensor("x"), module=OPS),
     {"name": "d", "trainable": True, "dtype": "float32", "function": "math.subtract"},
     [["_CONSTANT_VALUE", -1, 1.0, {"y": X, "name": None}]]),
    (graph("GetItem", {}, tensor("x"), [{"class_name": "__slice__", "config":
           {"start": 1, "stop": None, "step": None}}, 0], module=OPS),
     {"name": "d", "trainable": True, "dtype": "float32", "function": "__operators__.getitem"},
     [[*X, {"slice_spec": [{"start": 1, "stop": None, "step": None}, 0]}]]),
]  # fmt: skip


@pytest.mark.parametrize(("before", "config", "nodes"), CASES)
def test_a_layer_in_the_form_of_keras2(before, config, nodes):
    kept = json.dumps(before)
    after, found = downgraded(before)
    assert json.dumps(before) == kept
    assert found.problems == []
    model = after["config"]
    assert (model["input_layers"], model["output_layers"]) == ([X], [["d", 0, 0]])
    assert model["layers"][0]["config"] == {
        "name": "x", "batch_input_shape": [None, 4], "dtype": "float32"
    }  # fmt: skip
    assert model["layers"][1]["config"] == config
    assert model["layers"][1]["inbound_nodes"] == nodes


def shared(class_name):
    """A model that is called twice in another, whose outputs are these calls."""
    outer = graph(class_name, {**graph("Dense")["config"], "name": "d"})["config"]
    inner = outer["layers"][1]
    inner["inbound_nodes"].append({"args": [tensor("d", 0)], "kwargs": {}})
    return {"class_name": "Functional", "config": outer}


@pytest.mark.parametrize(("class_name", "end"), [("Functional", 0), ("Sequential", 1)])
def test_the_calls_of_a_model_are_counted_from_1(class_name, end):
    """Keras 3 does so for its own outputs, but not for a Sequential."""
    after = downgraded(shared(class_name))[0]["config"]
    assert after["output_layers"] == [["d", end, 0]]
    assert after["layers"][1]["inbound_nodes"] == [[[*X, {}]], [["d", 1, 0, {}]]]


BAD = [
    (graph("RMSNormalization"), "d: Keras 2 has no class RMSNormalization"),
    (graph("Mine"), "d: Mine is a custom class, written for Keras 3"),
    (graph("Lambda"), "d: a Lambda's code is not carried from one version of Python to another"),
    (graph("RandomCrop"), "d: RandomCrop of Keras 2 crops in predict too"),
    (graph("Dense", {"activation": "mish"}), 'd: Keras 2 has no activation that equals "mish"'),
    (graph("Dense", {"activation": "hard_sigmoid"}), "which is another function there"),
    (graph("ConvLSTM2D", {"filters": 4, "zero_output_for_mask": True}),
     "d: ConvLSTM2D of Keras 2 has no zero_output_for_mask: true"),
    (graph("Dense", {"lora_rank": 2}), "d: Dense of Keras 2 has no lora_rank: 2"),
    (graph("Resizing", {"antialias": True}), "d: Resizing of Keras 2 has no antialias: true"),
    (graph("Dense", {"dtype": "int8_from_float32"}), "no dtype policy like"),
    (graph("Dense", {"kernel_initializer": {"class_name": "STFT", "config": {}}}),
     "d: kernel_initializer: Keras 2 has no STFT"),
    (graph("Dense", {"kernel_initializer": {"class_name": "HeNormal", "config": {
        "input_axes": [1]}}}), "HeNormal of Keras 2 has no input_axes: [1]"),
    (graph("Dropout", training=True), "d: it is called with training=True"),
    (graph("MultiHeadAttention", {}, tensor("x"), tensor("x"), query_mask=tensor("x")),
     "d: Keras 2 does not call it with query_mask"),
    (graph("StringLookup", {"vocabulary": None, "dtype": "string"}), "holds no vocabulary"),
    (graph("Dense", {"name": "a b"}), "'a b' is not a name that TensorFlow accepts; rename it"),
    ({"class_name": "Functional", "config": {**graph("Dense")["config"], "name": "a b"}},
     "'a b' is not a name that TensorFlow accepts; rename it"),
    (graph("Erfinv", module=OPS), "d: Keras 2 has no operation that equals Erfinv"),
    (graph("Max", {"initial": 0}, module=OPS), "d: Max of TensorFlow has no initial: 0"),
    (graph("Multiply", {}, tensor("x", dtype="int32"), 2.5, module=OPS, dtype="int32"),
     "d: Multiply is given float and int32, which TensorFlow does not convert"),
    (graph("Add", {}, tensor("x"), tensor("x", dtype="float16"), module=OPS),
     "d: Add is given float16 and float32"),
    ({"class_name": "Sequential", "config": {"name": "m", "layers": [
        {"class_name": "Dense", "config": {"name": "d"}}]}}, "it was never built"),
    ({"class_name": "Mine", "config": {"name": "m"}}, "is a model of its own class"),
    ({"class_name": "Sequential", "config": {"name": "m", "layers": 3}},
     "its config is not in the form that Keras 3 writes"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "said"), BAD)
def test_what_keras2_cannot_say_is_refused_by_layer(config, said):
    found = downgraded(config)[1]
    assert len(found.problems) == 1
    assert said in found.problems[0]


def test_the_command(keras, tmp_path):
    """A refusal writes nothing; the written file reads as the same weights."""
    whole = dense_model(tmp_path)
    done = command("convert", whole, tmp_path / "old.h5", "--for", "keras2")
    assert done.returncode == 0, done.stderr
    ours, theirs = values(surgery.open(whole)), values(surgery.open(tmp_path / "old.h5"))
    assert ours.keys() == theirs.keys()
    assert all((ours[address] == theirs[address]).all() for address in ours)
    done = command("convert", whole, tmp_path / "old.keras", "--for", "keras2")
    assert "--for keras2 writes .h5 files" in done.stderr
    model = keras.Sequential([keras.Input((4,)), keras.layers.RMSNormalization(name="r")])
    model.save(tmp_path / "new.keras")
    done = command("convert", tmp_path / "new.keras", tmp_path / "r.h5", "--for", "keras2")
    assert done.returncode != 0
    assert "r: Keras 2 has no class RMSNormalization" in done.stderr
    assert not (tmp_path / "r.h5").exists()


def to_keras2(path, target):
    recipe = {"surgery": 1, "load": str(path), "export": [{"h5": {"path": str(target),
                                                                 "for": "keras2"}}]}  # fmt: skip
    return surgery.run(recipe).plan.notes


@pytest.mark.parametrize(
    ("optimizer", "loss", "kept", "said"),
    [
        ("adam", "mse", True, ["the optimizer's state is left out"]),
        ("adam", "categorical_generalized_cross_entropy", False, ["the compile config is left out: "
         "losses: Keras 2 has no categorical_generalized_cross_entropy"]),
        ("muon", "mse", False, ["optimizers: Keras 2 has no Muon"]),
    ],
)  # fmt: skip
def test_what_is_left_out_is_told(optimizer, loss, kept, said, keras, tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.compile(optimizer, loss)
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "m.keras")
    notes = to_keras2(tmp_path / "m.keras", tmp_path / "m.h5")
    assert all(any(text in note for note in notes) for text in said), notes
    with h5py.File(tmp_path / "m.h5") as file:
        assert ("training_config" in file.attrs) == kept
        assert "optimizer_weights" not in file


def test_a_model_of_keras2_stays_as_it_is(tmp_path):
    import tf_keras

    model = tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(4,))])
    model.save(tmp_path / "old.h5")
    assert to_keras2(tmp_path / "old.h5", tmp_path / "same.h5") == ()
    with h5py.File(tmp_path / "old.h5") as old, h5py.File(tmp_path / "same.h5") as same:
        assert json.loads(old.attrs["model_config"]) == json.loads(same.attrs["model_config"])


def test_an_upgraded_model_goes_back(tmp_path):
    import tf_keras

    model = tf_keras.Sequential([
        tf_keras.layers.GRU(2, recurrent_activation="hard_sigmoid", input_shape=(5, 4))
    ])  # fmt: skip
    model.save(tmp_path / "old.h5")
    surgery.save(surgery.open(tmp_path / "old.h5"), keras=tmp_path / "new.keras")
    to_keras2(tmp_path / "new.keras", tmp_path / "m.h5")
    x = np.random.default_rng(0).random((3, 5, 4), np.float32)
    again = tf_keras.models.load_model(tmp_path / "m.h5", compile=False)
    np.testing.assert_allclose(again(x), model(x), atol=1e-6)


def test_there_and_back(keras, tmp_path):
    """As Keras 2 takes it, and from there as Keras 3 does."""
    layers = keras.layers
    model = keras.Sequential([keras.Input((5, 4)), layers.GRU(3),
                              layers.LeakyReLU(negative_slope=0.1), layers.Dense(2)])  # fmt: skip
    way_back.randomized(model).save(tmp_path / "m.keras")
    to_keras2(tmp_path / "m.keras", tmp_path / "m.h5")
    surgery.save(surgery.open(tmp_path / "m.h5"), keras=tmp_path / "again.keras")
    x = np.random.default_rng(0).random((3, 5, 4), np.float32)
    again = keras.saving.load_model(tmp_path / "again.keras")
    np.testing.assert_allclose(again(x), model(x), atol=1e-6)


def test_weights_alone_are_refused(tmp_path):
    surgery.save(surgery.open(dense_model(tmp_path)), npz=tmp_path / "w.npz")
    with pytest.raises(RecipeError, match="it needs the architecture"):
        to_keras2(tmp_path / "w.npz", tmp_path / "w.h5")
