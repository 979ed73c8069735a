"""The recipes for checkpoints of TensorFlow 1, on a small one with BERT's names."""

import numpy as np
import pytest

import surgery
from surgery.weights.model import Model
from surgery.weights.tensor import constant
from surgery.weights.weight import Weight
from tests.conftest import ROOT, command, values

DENSE = ["attention/self/query", "attention/self/key", "attention/self/value",
         "attention/output/dense", "intermediate/dense", "output/dense"]  # fmt: skip


def bert():
    """The variables of a BERT with two layers of width 4, by name."""
    shapes = {"bert/embeddings/word_embeddings": (10, 4), "bert/embeddings/LayerNorm/gamma": (4,),
              "bert/embeddings/LayerNorm/beta": (4,), "bert/pooler/dense/kernel": (4, 4),
              "bert/pooler/dense/bias": (4,), "cls/predictions/output_bias": (10,)}  # fmt: skip
    for layer in (f"bert/encoder/layer_{number}" for number in range(2)):
        for part in DENSE:
            shapes |= {f"{layer}/{part}/kernel": (4, 4), f"{layer}/{part}/bias": (4,)}
        for part in ("attention/output", "output"):
            shapes |= {f"{layer}/{part}/LayerNorm/{name}": (4,) for name in ("gamma", "beta")}
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture
def checkpoint(tmp_path):
    """BERT with the slots of its own Adam."""
    states = [Weight(f"{name}/{slot}", constant(array), state="optimizer")
              for name, array in bert().items() for slot in ("adam_m", "adam_v")]  # fmt: skip
    counter = Weight("global_step", constant(np.array(5)), state="other")
    weights = tuple(Weight(name, constant(array)) for name, array in bert().items())
    surgery.save(Model(weights, states=(*states, counter)), checkpoint=tmp_path / "bert_model")
    return tmp_path / "bert_model"


def run(name, model, out, *options):
    done = command("run", ROOT / "recipes" / f"{name}.yaml", "-p", f"model={model}", "-p",
                   f"out={out}", *options)  # fmt: skip
    assert done.returncode == 0, done.stderr


def same(found, expected):
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_bert_rename(checkpoint, tmp_path):
    run("bert-rename", checkpoint, tmp_path)
    expected = {name.removeprefix("bert/").replace("LayerNorm", "layer_norm"): array
                for name, array in bert().items() if not name.startswith("cls/")}  # fmt: skip
    assert "encoder/layer_1/attention/output/layer_norm/beta" in expected
    same(values(surgery.open(tmp_path / "bert.safetensors")), expected)
    back = surgery.open(tmp_path / "bert")
    same(values(back), expected)
    assert [state.address for state in back.states] == ["global_step"]


def test_qkv_is_fused_and_split(checkpoint, tmp_path):
    run("fuse-qkv", checkpoint, tmp_path)
    fused = values(surgery.open(tmp_path / "fused.safetensors"))
    place = "bert/encoder/layer_1/attention/self"
    parts = [bert()[f"{place}/{part}/kernel"] for part in ("query", "key", "value")]
    np.testing.assert_array_equal(fused[f"{place}/qkv/kernel"], np.concatenate(parts, -1))
    assert fused[f"{place}/qkv/bias"].shape == (12,)
    run("split-qkv", tmp_path / "fused.safetensors", tmp_path)
    same(values(surgery.open(tmp_path / "split.safetensors")), bert())


def test_ema(tmp_path):
    raw = {"w": np.zeros((3, 2), np.float32), "a/b": np.ones(4, np.float32)}
    shadows = {f"{name}/ExponentialMovingAverage": array + 5 for name, array in raw.items()}
    both = {**raw, **shadows, "only": np.ones(2, np.float32)}
    weights = tuple(Weight(name, constant(array)) for name, array in both.items())
    surgery.save(Model(weights), checkpoint=tmp_path / "model")
    run("ema", tmp_path / "model", tmp_path)
    expected = {name: array + 5 for name, array in raw.items()}
    same(values(surgery.open(tmp_path / "ema")), {**expected, "only": both["only"]})


def test_vocabulary(checkpoint, tmp_path):
    run("vocabulary", checkpoint, tmp_path, "-p", "size=[13, 4]")
    found = values(surgery.open(tmp_path / "vocabulary.safetensors"))
    words = bert()["bert/embeddings/word_embeddings"]
    mean = words.astype(float).mean(0).astype(np.float32)
    grown = np.concatenate([words, np.tile(mean, (3, 1))])
    same(found, {**bert(), "bert/embeddings/word_embeddings": grown})
