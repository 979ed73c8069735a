"""What holds for every operation that changes layers, found by registry."""

from dataclasses import dataclass, replace

import pytest

import surgery
from surgery.architecture import Architecture
from surgery.ops.remove import Remove
from surgery.ops.structure import StructureOp
from surgery.recipe.parts import build_op
from surgery.testing.structure import check_structure, graph_model, with_lora
from surgery.weights.layer_selectors import SelectLayers
from tests.conftest import dense_layers

NEW = {"name": "new", "units": 4}
HEAD = {"head/kernel", "head/bias"}
STRUCTURE = {
    "append": [({"layers": [{"Dense": NEW}, "Softmax"]}, {"new/kernel", "new/bias"})],
    "chain": [({"with": {"next": "narrow"}, "as": "a"}, {"next/one/kernel", "next/one/bias"})],
    "deepen": [({"after": "a", "name": "more"}, {"more/kernel", "more/bias"})],
    "extract": [
        ({"at": "add"}, ()),
        ({"at": {"layer": "encoder", "call": 0}}, ()),
        ({"at": {"x": {"layer": "encoder/deep", "call": 1}, "y": "drop"}}, ()),
    ],
    "factorize": [({"select": "a", "rank": 2}, {"a_factor/kernel", "a/kernel"})],
    "fold_batchnorm": [({"select": "**"}, {"a/kernel", "a/bias"})],
    "flatten": [({"select": "encoder"}, ()), ({"select": "**", "names": "{inner}"}, ())],
    "insert": [
        ({"after": "add", "layer": {"Dense": NEW}}, {"new/kernel", "new/bias"}),
        ({"before": "encoder/relu", "layer": {"Dropout": {"rate": 0.5}}}, ()),
    ],
    "join": [
        ({"models": {"b": "wide"}, "as": "a"}, {"b/one/kernel", "b/one/bias"}),
        ({"models": {"b": "wide"}, "as": "a", "inputs": "apart"}, {"b/one/kernel", "b/one/bias"}),
    ],
    "lora_merge": [({"select": "**"}, {"a/kernel"})],
    "prefix": [({"with": "t_"}, ())],
    "remove": [
        ({"select": "drop"}, ()),
        ({"select": ["add", "a"], "keep_input": 0}, ()),
        ({"select": "encoder"}, ()),
    ],
    "remove_channels": [
        ({"select": "a", "keep": 1}, {"a/kernel", "a/bias", "b/kernel"}),
        ({"select": "a", "parameters": 14}, {"a/kernel", "a/bias", "b/kernel"}),
        ({"select": "a", "indices": [1]}, {"a/kernel", "a/bias", "b/kernel"}),
    ],
    "replace": [
        ({"select": "encoder/relu", "layer": "Softmax"}, ()),
        ({"select": "a", "layer": {"Dense": {"units": 4, "use_bias": False}}}, ()),
        ({"select": "out", "layer": {"Dense": {"units": 3}}}, {"out/kernel", "out/bias"}),
    ],
    "replace_head": [
        ({"after": "add", "classes": 3}, HEAD),
        ({"after": {"layer": "encoder/deep", "call": 0}, "classes": 3, "dropout": 0.1}, HEAD),
    ],
    "resize_input": [
        ({"channels": 2, "changed": "reinitialize"}, {"a/kernel"}),
    ],
    "widen": [({"select": "a", "to": 5}, {"a/kernel", "a/bias", "b/kernel"})],
    "set_config": [({"select": "a", "keys": {"activation": "relu"}}, ())],
}  # fmt: skip
"""Keys of every op that changes layers, with the weights that it makes or changes."""


@pytest.mark.parametrize(
    ("name", "keys", "new"),
    [(name, keys, new) for name, rows in STRUCTURE.items() for keys, new in rows],
    ids=[f"{name}-{n}" for name, rows in STRUCTURE.items() for n in range(len(rows))],
)
def test_contract_of_structure(name, keys, new, tmp_path):
    """What is not new is the same tensor, in Keras's order, and Keras's files hold it."""
    for donor, sizes in {"narrow": [2, 3], "wide": [4, 2]}.items():
        surgery.save(dense_layers(["one"], sizes), keras=tmp_path / f"{donor}.keras")
    paths = {donor: str(tmp_path / f"{donor}.keras") for donor in ("narrow", "wide")}
    keys = {
        key: {n: paths.get(file, file) for n, file in value.items()}
        if key in ("with", "models") and isinstance(value, dict)
        else value
        for key, value in keys.items()
    }
    check_structure(build_op(name, keys, 5), tmp_path, model_for(name), new)


def model_for(name):
    """The model that an op is tried on, where it is not `graph_model()`."""
    if name == "lora_merge":
        return with_lora(graph_model())
    if name == "fold_batchnorm":
        return surgery.insert(graph_model(), after="a", layer={"BatchNormalization": {}})
    return dense_layers("ab", [4, 3, 2]) if name in SEQUENTIAL else None


SEQUENTIAL = ("remove_channels", "resize_input", "widen")


@dataclass(frozen=True, kw_only=True)
class Planted(StructureOp):
    """What a wrong operation has in common with right ones."""

    name = "planted"

    def apply(self, model):
        return self.spoiled(Remove(select=SelectLayers("drop")).apply(model))

    def spoiled(self, model):
        return model


class Reordered(Planted):
    def spoiled(self, model):
        config = model.architecture.config
        layers = [*reversed(config["config"]["layers"])]
        config = {**config, "config": {**config["config"], "layers": layers}}
        return replace(model, architecture=Architecture(config))


class Unordered(Planted):
    def spoiled(self, model):
        return replace(model, weights=model.weights[::-1])


class Copied(Planted):
    def spoiled(self, model):
        return model.map(model.weights[:1], lambda values, _: values)


class WithoutSlots(Planted):
    def spoiled(self, model):
        return model.with_weights([replace(model.weights[0], slots=())])


class LeftState(Planted):
    def apply(self, model):
        made = super().apply(model)
        return replace(made, carried=replace(made.carried, state=model.carried.state))


def test_the_contract_lets_right_operations_pass(tmp_path):
    check_structure(Planted(), tmp_path)


@pytest.mark.parametrize("wrong", [Reordered, Unordered, Copied, WithoutSlots, LeftState])
def test_the_contract_finds_wrong_operations(wrong, tmp_path):
    with pytest.raises(AssertionError):
        check_structure(wrong(), tmp_path)
