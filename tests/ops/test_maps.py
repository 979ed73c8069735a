"""`rename`, `copy` and `load` by maps of addresses, on files of every kind."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import surgery
from surgery.errors import RecipeError, SelectorError, SurgeryError
from surgery.weights.matching import mapped
from surgery.weights.model import Model
from surgery.weights.tensor import constant
from surgery.weights.weight import Weight
from tests.ops.sources import ARRAYS, EVERY, WEIGHTS_ONLY, check, opened, source

BEFORE = {"step": "before"}


def with_names(**names):
    return {names.get(name.replace("/", "_"), name): array for name, array in ARRAYS.items()}


SWAPPED = {
    {"a": "b", "b": "a"}.get(name[0], name[0]) + name[1:]: array for name, array in ARRAYS.items()
}
RENAMES = [
    ({"map": {"a/**": "b/**", "b/**": "a/**"}}, SWAPPED),
    ({"map": {"re:(.)/(kernel|bias)": r"net_\1/\2"}}, {f"net_{k}": v for k, v in ARRAYS.items()}),
    # The first match counts.
    ({"map": {"a/*": "x/*", "*/kernel": "*/kernel", "*/bias": "*/bias"}},
     with_names(a_kernel="x/kernel", a_bias="x/bias")),
    ({"select": "a", "to": "first"}, with_names(a_kernel="first/kernel", a_bias="first/bias")),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "expected"), RENAMES, ids=["swap", "regex", "first", "select"])
@pytest.mark.parametrize("kind", EVERY)
def test_rename(kind, keys, expected, tmp_path):
    check(surgery.rename(opened(kind, tmp_path), **keys), expected, tmp_path)


@pytest.mark.parametrize("kind", WEIGHTS_ONLY)
def test_variables_are_renamed_where_there_are_no_layers(kind, tmp_path):
    model = surgery.rename(opened(kind, tmp_path), map={"*/kernel": "scope/*/w"})
    new = {name.replace("/kernel", ""): name for name in ARRAYS if name.endswith("kernel")}
    renamed = {f"scope/{layer}/w": ARRAYS[name] for layer, name in new.items()}
    kept = {name: array for name, array in ARRAYS.items() if name.endswith("bias")}
    check(model, {**renamed, **kept}, tmp_path)


def test_a_model_is_renamed_with_its_config(tmp_path):
    renamed = surgery.rename(opened("keras", tmp_path), map={"a/**": "b/**", "b/**": "a/**"})
    assert [layer.name for layer in renamed.architecture.layers] == ["b", "a", "c"]
    surgery.save(renamed, keras=tmp_path / "out.keras")
    check(surgery.open(tmp_path / "out.keras"), SWAPPED, tmp_path)


def test_slots_of_a_checkpoint_are_renamed_with_their_weights(tmp_path):
    renamed = surgery.rename(opened("checkpoint", tmp_path), map={"a/**": "b/**", "b/**": "a/**"})
    surgery.save(renamed, checkpoint=tmp_path / "out")
    back = surgery.open(tmp_path / "out")
    for name, array in SWAPPED.items():
        np.testing.assert_array_equal(back[name].numpy(), array)
        np.testing.assert_array_equal(back[f"{name}/Adam"].numpy(), array * 2)
        np.testing.assert_array_equal(back[f"{name}/Adam_1"].numpy(), array * 3)
    assert back["global_step"].numpy() == 7


REFUSED = [
    ({"map": {"a/**": "b/**"}}, "a/kernel and b/kernel get one name: b/kernel"),
    ({"map": {"z/**": "b/**"}}, "'z/\\*\\*' matches no weight; the nearest are"),
    ({"map": {"*/kernel": "*/w", "a/kernel": "x"}}, "'a/kernel' matches nothing that a pattern be"),
    ({"map": {"a/**": None}}, "'a/\\*\\*' needs one new address; delete leaves"),
    ({"map": {"a/*": ["b/*", "c/*"]}}, "needs one new address"),
    ({"map": {}}, "map is empty"),
    ({"map": {"a/*": 5}}, "expected text or a list, not 5"),
    ({"map": {"a/*": "x/*"}, "select": "a", "to": "b"}, "give either select and to, or map"),
    ({"select": "a"}, "select and to go together"),
    ({"map": {"re:(a/.*": "x"}}, "not a regular expression"),
    ({"map": {"re:a/(.*)": r"x/\2"}}, "does not go with"),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "said"), REFUSED)
@pytest.mark.parametrize("kind", ["npz", "keras"])
def test_renames_that_are_refused(kind, keys, said, tmp_path):
    with pytest.raises((SelectorError, RecipeError), match=said):
        surgery.rename(opened(kind, tmp_path), **keys)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"a/kernel": "x/kernel"}, "a would be x and, for a/bias, a: map all weights of a layer"),
        ({"*/kernel": "*/w"}, "a/kernel -> a/w: the last part is the variable"),
        ({"a/*": "x/y/*"}, "a/kernel -> x/y/kernel: a layer stays in the model that it is in"),
        ({"a/*": "a b/*"}, "'a b' is not a name that Keras"),
    ],
)
def test_where_there_are_layers_only_their_names_change(names, said, tmp_path):
    with pytest.raises(SelectorError, match=said):
        surgery.rename(opened("keras", tmp_path), map=names)


NAMES = st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=3).map("/".join)


@given(old=st.lists(NAMES, min_size=1, max_size=6, unique=True), data=st.data())
def test_a_permutation_of_names_is_carried_out_at_once(old, data):
    new = data.draw(st.permutations(old))
    model = Model(tuple(Weight(name, constant(np.array(i))) for i, name in enumerate(old)))
    after = surgery.rename(model, map=dict(zip(old, new, strict=True)))
    assert {w.address: int(w.numpy()) for w in after.weights} == {n: i for i, n in enumerate(new)}


@given(names=st.lists(NAMES, min_size=1, max_size=6, unique=True), start=st.sampled_from("abcd"))
def test_a_glob_renames_as_python_would(names, start):
    weights = [Weight(name, constant(np.zeros(1))) for name in names]
    expected = [f"x{name[1:]}" if name.startswith(f"{start}/") else name for name in names]
    if expected == names:
        with pytest.raises(ValueError, match="matches no weight"):
            mapped(weights, {f"{start}/**": "x/**"})
    else:
        assert list(mapped(weights, {f"{start}/**": "x/**"})) == expected


@pytest.mark.parametrize("kind", EVERY)
def test_copy_within_the_model_as_it_was(kind, tmp_path):
    swap = {"a/bias": "b/bias", "b/bias": "a/bias"}
    model = surgery.copy(opened(kind, tmp_path), from_=BEFORE, map=swap)
    expected = {**ARRAYS, "a/bias": ARRAYS["b/bias"], "b/bias": ARRAYS["a/bias"]}
    check(model, expected, tmp_path)


@pytest.mark.parametrize("kind", WEIGHTS_ONLY)
def test_copy_to_several_and_to_new_ones(kind, tmp_path):
    model = opened(kind, tmp_path)
    names = {"c/**": None, "a/**": ["d/**", "e/**"], "**/bias": "**/bias"}
    made = {f"{to}{name[1:]}": ARRAYS[name] for to in "de" for name in ("a/kernel", "a/bias")}
    model = surgery.copy(model, from_=BEFORE, map=names, create=True)
    check(model, {**ARRAYS, **made}, tmp_path)


def test_copy_names_what_is_not_there(tmp_path):
    model = opened("npz", tmp_path)
    with pytest.raises(SelectorError, match=r"'a/\*' -> 'd/\*' gives d/kernel, which is not a"):
        surgery.copy(model, from_=BEFORE, map={"a/*": "d/*"})
    with pytest.raises(RecipeError, match="create needs a map"):
        surgery.copy(model, from_=BEFORE, create=True)
    with pytest.raises(SelectorError, match=r"create: d/kernel is not in .* insert and append"):
        surgery.copy(opened("keras", tmp_path), from_=BEFORE, map={"a/*": "d/*"}, create=True)


@pytest.mark.parametrize("kind", EVERY)
def test_copy_by_order_and_by_shape(kind, tmp_path):
    others = {f"x{i}": array + 1 for i, array in enumerate(ARRAYS.values())}
    weights = tuple(Weight(name, constant(array)) for name, array in others.items())
    surgery.save(Model(weights), npz=tmp_path / "d.npz")
    expected = {name: array + 1 for name, array in ARRAYS.items()}
    model = opened(kind, tmp_path)
    for match in ("order", "shape"):
        copied = surgery.copy(model, from_=str(tmp_path / "d.npz"), match=match)
        check(copied, expected, tmp_path)


def test_copy_by_order_holds_every_shape_and_the_plan_shows_the_pairs(tmp_path):
    path = source("npz", tmp_path)
    turned = {name: array.T for name, array in ARRAYS.items()}
    weights = tuple(Weight(f"x/{name}", constant(array)) for name, array in turned.items())
    surgery.save(Model(weights), npz=tmp_path / "d.npz")
    keys = {"from_": str(tmp_path / "d.npz"), "match": "order"}
    with pytest.raises(SelectorError, match=r"of another shape there: a/kernel \(\[6, 4\], here"):
        surgery.copy(surgery.open(path), **keys)
    model = surgery.copy(surgery.open(path), **keys, reshape=True)
    expected = {name: array.reshape(ARRAYS[name].shape) for name, array in turned.items()}
    check(model, expected, tmp_path)
    with pytest.raises(SelectorError, match="2 weights are selected, and the donor has 6"):
        surgery.copy(surgery.open(path), "a", **keys)
    with pytest.raises(SelectorError, match=r"1 weights of shape \[4, 6\] are selected, and the d"):
        surgery.copy(surgery.open(path), "a", from_=keys["from_"], match="shape")
    step = {"copy": {"from": "d.npz", "match": "order", "reshape": True}}
    recipe = {"surgery": 1, "load": str(path), "steps": [step], "export": [{"npz": "o.npz"}]}
    (tmp_path / "r.yaml").write_text(json.dumps(recipe))
    (planned,) = surgery.plan(tmp_path / "r.yaml").steps
    assert planned.renames == {f"x/{name}": name for name in ARRAYS}


@pytest.mark.parametrize("kind", WEIGHTS_ONLY)
def test_load_leaves_out_and_makes_several(kind, tmp_path):
    path = source(kind, tmp_path)
    names = {"c/**": None, "a/**": ["x/**", "y/**"]}
    recipe = {"surgery": 1, "load": {"path": str(path), "map": names},
              "export": [{"npz": str(tmp_path / "o.npz")}]}  # fmt: skip
    surgery.run(recipe)
    expected = {name: array for name, array in ARRAYS.items() if name[0] == "b"}
    expected |= {f"{to}{name[1:]}": ARRAYS[name] for to in "xy" for name in ("a/kernel", "a/bias")}
    check(surgery.open(tmp_path / "o.npz"), expected, tmp_path)


def test_a_target_that_cannot_hold_the_names_says_so(tmp_path):
    renamed = surgery.rename(opened("savedmodel", tmp_path), map={"a/**": "x/**"})
    with pytest.raises(
        SurgeryError, match="the source has neither, or a step added, removed or renamed variables"
    ):
        surgery.save(renamed, savedmodel=tmp_path / "out")
