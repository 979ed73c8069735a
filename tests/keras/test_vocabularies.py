"""Lookup layers of Keras 2's SavedModels keep their vocabularies in a .keras file of Keras 3."""

import numpy as np
import pytest

import surgery
from surgery.errors import SurgeryError
from surgery.formats._tensorflow.proto import Message, put_bytes, put_integer


@pytest.fixture(scope="module")
def tf():
    return pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def saved(tf, tmp_path_factory):
    """A SavedModel with every kind of lookup layer, its outputs by name, and what it was given."""
    tf_keras = pytest.importorskip("tf_keras")
    folder = tmp_path_factory.mktemp("vocabularies")
    (folder / "words.txt").write_text("k1\nk2\nk3\n")
    (folder / "numbers.txt").write_text("7\n9\n")
    kinds = tf_keras.layers
    words = kinds.Input((1,), dtype=tf.string, name="words")
    numbers = kinds.Input((1,), dtype=tf.int64, name="numbers")
    adapted = kinds.StringLookup(name="adapted")
    adapted.adapt(tf.constant([["x"], ["y"], ["y"]]))
    adapted_numbers = kinds.IntegerLookup(name="adapted_numbers")
    adapted_numbers.adapt(tf.constant([[5], [6], [6]]))
    text = kinds.TextVectorization(name="text", output_sequence_length=4)
    text.adapt(tf.constant(["hello world", "hello"]))
    inner = [
        kinds.Input((1,), dtype=tf.string),
        kinds.StringLookup(vocabulary=["p", "q"], name="x"),
    ]
    layers = [
        (adapted, words),
        (kinds.StringLookup(vocabulary=["c", "b", "a"], num_oov_indices=2, mask_token="",
                            name="fixed"), words),
        (kinds.StringLookup(vocabulary=str(folder / "words.txt"), name="file"), words),
        (kinds.StringLookup(vocabulary=["a", "b"], output_mode="multi_hot", name="hot"), words),
        (kinds.StringLookup(vocabulary=["a", "b"], invert=True, name="inverted"), numbers),
        (kinds.IntegerLookup(vocabulary=[20, 10], name="integers"), numbers),
        (kinds.IntegerLookup(vocabulary=[20, 10], invert=True, name="inverted_integers"), numbers),
        (kinds.IntegerLookup(vocabulary=str(folder / "numbers.txt"), name="number_file"), numbers),
        (adapted_numbers, numbers),
        (text, words),
        (kinds.TextVectorization(vocabulary=["foo", "bar"], output_sequence_length=4,
                                 name="fixed_text"), words),
        (tf_keras.Sequential(inner, name="inner"), words),
    ]  # fmt: skip
    outputs = {layer.name: layer(given) for layer, given in layers}
    outputs["embedded"] = kinds.Embedding(4, 2, name="embedding")(outputs["adapted"])
    model = tf_keras.Model([words, numbers], outputs)
    texts = ["x", "y", "k2", "a", "b", "hello foo world bar", "q", "p"]
    given = [tf.constant([[text] for text in texts]),
             tf.constant([[n] for n in (1, 2, 5, 6, 7, 9, 10, 20)], tf.int64)]  # fmt: skip
    wanted = {name: np.array(value) for name, value in model(given).items()}
    model.save(folder / "saved", save_format="tf")
    return folder / "saved", given, wanted


def outputs(keras, path, given):
    model = keras.models.load_model(path, compile=False)
    return {name: np.array(value) for name, value in model(given).items()}


def test_what_keras_3_makes_of_them(keras, saved, tmp_path):
    folder, given, wanted = saved
    surgery.save(surgery.open(folder), keras=tmp_path / "m.keras")
    found = outputs(keras, tmp_path / "m.keras", given)
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values, name)


def rewritten(folder, to, change):
    """A copy of a SavedModel whose Keras metadata is changed, node by node."""
    surgery.save(surgery.open(folder), savedmodel=to)
    nodes = Message((to / "keras_metadata.pb").read_bytes()).messages(1)
    texts = [(node.integer(2), node.text(3), node.text(4), node.text(5)) for node in nodes]
    data = b"".join(
        put_bytes(1, put_integer(2, number) + put_bytes(3, path.encode())
                  + put_bytes(4, kind.encode()) + put_bytes(5, change(path, text).encode()))
        for number, path, kind, text in texts
    )  # fmt: skip
    (to / "keras_metadata.pb").write_bytes(data)


def test_the_layer_s_own_metadata_comes_first(saved, tmp_path):
    def change(path, text):
        own = '"name": "adapted"' in text and path != "root"
        return text.replace('"vocabulary": null', '"vocabulary": ["one", "two"]') if own else text

    rewritten(saved[0], tmp_path / "s", change)
    layers = surgery.open(tmp_path / "s").architecture.layers
    (adapted,) = (layer for layer in layers if layer.address == "adapted")
    assert adapted.config["vocabulary"] == ["one", "two"]


def test_one_that_is_not_found_is_refused(saved, tmp_path):
    def change(path, text):
        return text.replace('"name": "fixed"', '"name": "other"') if path != "root" else text

    rewritten(saved[0], tmp_path / "s", change)
    model = surgery.open(tmp_path / "s")
    for target in ("keras", "h5"):
        with pytest.raises(SurgeryError, match=f"{target}: the vocabulary of fixed is not found"):
            surgery.save(model, **{target: tmp_path / f"m.{target}"})
    surgery.save(model, savedmodel=tmp_path / "copy")
