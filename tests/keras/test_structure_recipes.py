"""Recipes that change layers: validated, planned and run; and what is said of wrong ones."""

import json
from dataclasses import replace

import pytest

import surgery
from surgery.architecture import Architecture
from surgery.recipe.parts import build_op
from surgery.testing.structure import graph_model, with_lora
from tests.conftest import command, dense_layers
from tests.keras.test_structure_contract import STRUCTURE


def recipe(folder, steps, load="net.keras", out="out.keras"):
    """A recipe beside the models that it is about."""
    surgery.save(graph_model(), keras=folder / "net.keras", weights_h5=folder / "net.weights.h5")
    surgery.save(dense_layers("ab", [4, 3, 2]), keras=folder / "chain.keras")
    for donor, sizes in {"narrow": [2, 3], "wide": [4, 2]}.items():
        surgery.save(dense_layers(["one"], sizes), keras=folder / f"{donor}.keras")
    text = {"surgery": 1, "load": load, "steps": steps, "export": [{"keras": out}]}
    (folder / "r.yaml").write_text(json.dumps(text))
    return "r.yaml"


def with_files(keys, folder):
    """The keys of a row of STRUCTURE with files in place of donors' names."""
    return {
        key: {name: str(folder / f"{file}.keras") for name, file in value.items()}
        if key in ("with", "models") and isinstance(value, dict)
        else value
        for key, value in keys.items()
    }


OTHERS = {"deepen", "factorize", "fold_batchnorm", "lora_merge", "remove_channels", "widen"}
"""What has tests of its own."""


@pytest.mark.parametrize("name", sorted(set(STRUCTURE) - OTHERS))
def test_a_recipe_does_what_the_op_does(name, tmp_path):
    load = "chain.keras" if name == "resize_input" else "net.keras"
    for keys, new in STRUCTURE[name]:
        path = recipe(tmp_path, [{name: with_files(keys, tmp_path)}], load)
        done = surgery.run(tmp_path / path)
        op = build_op(name, with_files(keys, tmp_path))
        expected = op.apply(surgery.open(tmp_path / load))
        made = surgery.open(tmp_path / "out.keras")
        assert [w.address for w in made.weights] == [w.address for w in expected.weights]
        for weight in expected.weights:
            if weight.address not in new:  # those are drawn from the recipe's own seed
                assert same_bytes_of(made, weight.address, weight)
        assert done.manifest.is_file()


def test_lora_is_merged_by_a_recipe(tmp_path):
    path = recipe(tmp_path, [{"lora_merge": {"select": "**"}}], "lora.h5")
    surgery.save(with_lora(graph_model()), h5=tmp_path / "lora.h5")
    done = command("plan", path, cwd=tmp_path)
    assert done.returncode == 2  # the .h5 is laid out anew, and so has no LoRA any more
    assert "** names no layer with LoRA; no layer has it" in done.stderr


STEPS = [
    {"remove": {"select": "drop"}},
    {"flatten": {"select": "encoder"}},
    {"prefix": {"with": "t_"}},
    {"set_config": {"select": "t_a", "keys": {"activation": "tanh"}}},
    {"insert": {"after": "t_a", "layer": {"Activation": {"activation": "relu", "name": "mid"}}}},
    {"replace": {"select": "mid", "layer": {"Dense": {"units": 4}}}},
    {"append": {"layers": ["Softmax"]}},
    {"freeze": {"select": "t_a"}},
    {"replace_head": {"after": "t_add", "classes": 3}},
    {"scale": {"select": "mid", "by": 2}},
    {"extract": {"at": "mid"}},
]


def test_many_steps_in_a_row(tmp_path):
    path = recipe(tmp_path, STEPS)
    for verb in ("validate", "plan", "run"):
        done = command(verb, path, cwd=tmp_path, imported=["keras"])
        assert done.returncode == 0, done.stderr
    made = surgery.open(tmp_path / "out.keras")
    assert [w.address for w in made.weights] == ["t_a/kernel", "t_a/bias", "mid/kernel", "mid/bias"]
    assert same_bytes_of(made, "t_a/kernel", graph_model()["a/kernel"])
    assert made["t_a/kernel"].trainable is False


def same_bytes_of(model, address, weight):
    return model[address].tensor.numpy().tobytes() == weight.tensor.numpy().tobytes()


DEEP = (
    "encoder/deep has several calls: call 0, tensor 0: 4, read by encoder_relu; call 1, tensor 0: "
    "4, read by encoder_relu; write {layer: encoder/deep, call: 0}"
)
WRONG = [
    ("extract", {"at": "ad"}, "extract.at: ad is no layer of the model; the nearest are add, a"),
    ("extract", {"at": "encoder/dep"}, "extract.at: encoder/dep is no layer of the model; the "
     "nearest are encoder/deep, encoder/deep_in, encoder/relu"),
    ("extract", {"at": "encoder/deep"}, f"extract.at: {DEEP}"),
    ("extract", {"at": {"layer": "a", "call": 3}}, "extract.at: a has no call 3: call 0, tensor 0: "
     "4, read by drop; write {layer: a, call: 0}"),
    ("extract", {"at": {"layer": "encoder", "call": 0}, "verify": True}, "extract: {layer: "
     "encoder, call: 0} is one of several outputs, and verify compares the only one of a layer; "
     "verify: false leaves the comparison out"),
    ("replace_head", {"after": "adds", "classes": 3}, "replace_head.after: adds is no layer of the "
     "model; the nearest are add"),
    ("replace_head", {"after": "add", "classes": 3, "name": "a"}, "replace_head: there is a layer "
     "called a already; give another name"),
    ("insert", {"after": "addd", "layer": "ReLU"}, "insert.after: addd is no layer of the model; "
     "the nearest are add"),
    ("insert", {"before": "outt", "layer": "ReLU"}, "insert.before: outt is no layer of the model; "
     "the nearest are out"),
    ("insert", {"before": "in", "layer": "ReLU"}, "insert.before: in is an input of the model; say "
     "after instead"),
    ("insert", {"after": "add", "layer": {"ReLU": {"name": "a"}}}, "insert: there is a layer "
     "called a already; give another name"),
    ("remove", {"select": "dorp"}, "remove.select: dorp is no layer of the model; the nearest are "
     "drop"),
    ("remove", {"select": {"type": "Dropot"}}, "remove.select: {type: Dropot} is no layer of the "
     "model; its types are InputLayer, Dense, Dropout, Add, Functional, ReLU"),
    ("remove", {"select": "add"}, "remove.select: add has 2 inputs; keep_input says which of them "
     "goes on (0: in, 1: drop)"),
    ("replace", {"select": "add", "layer": "ReLU"}, "replace.select: add has 2 inputs, and replace "
     "takes one"),
    ("replace", {"select": "a", "layer": {"Dense": {"units": 3}}}, "replace.select: add (Add) "
     "would not fit: Keras does not call it on 4 and 3"),
    ("flatten", {"select": "a"}, "flatten.select: a names no nested model; there are encoder"),
    ("join", {"models": {"b": "narrow.keras"}}, "join: net takes 4 of float32, and b takes 2 of "
     "float32; inputs: apart gives each its own"),
    ("join", {"models": {"net": "wide.keras"}}, "join: this model and another one would be called "
     "net; give as"),
    ("chain", {"with": {"b": "wide.keras"}}, "chain: b takes [4] and net gives [2]"),
    ("set_config", {"select": "a", "keys": {"actvation": "relu"}}, "set_config: a is a Dense, "
     "which has no argument 'actvation' (did you mean 'activation'?)"),
    ("resize_input", {"input": "inn", "channels": 3}, "resize_input: say which input: in (did you "
     "mean 'in'?)"),
    ("resize_input", {"size": [3, 3]}, "resize_input: the input is [4], so size has 0 numbers, not "
     "2"),
    ("append", {"layers": ["Softmax"], "to": "b"}, "append: say which output: to is one of out"),
    ("lora_merge", {"select": "**"}, "lora_merge.select: ** names no layer with LoRA; no layer "
     "has it"),
]  # fmt: skip


def test_what_is_said_of_wrong_steps(tmp_path):
    """All at once, each with its place."""
    path = recipe(tmp_path, [{name: keys} for name, keys, _ in WRONG])
    done = command("plan", path, cwd=tmp_path, imported=["keras"])
    assert done.returncode == 2
    said = [line.split(": ", 1)[1] for line in done.stderr.splitlines()]
    assert said == [f"steps[{n}].{message}" for n, (_, _, message) in enumerate(WRONG)]


SUBCLASSED = {
    "module": "my.models",
    "class_name": "Net",
    "config": {"name": "net"},
    "registered_name": "my>Net",
}


def test_models_without_a_graph(tmp_path):
    path = recipe(tmp_path, [{"remove": {"select": "drop"}}], "net.weights.h5")
    done = command("plan", path, cwd=tmp_path)
    assert (
        "steps[0].remove.select: net.weights.h5 holds weights only, and remove acts on layers; "
        in (done.stderr)
    )
    model = replace(graph_model(), architecture=Architecture(SUBCLASSED), origin="mine.keras")
    with pytest.raises(surgery.SurgeryError) as error:
        surgery.remove(model, "drop")
    assert str(error.value) == (
        "mine.keras is a Net, whose config does not say how its layers are called; remove needs a "
        "functional or Sequential model: write the change in code, and load it with build"
    )
