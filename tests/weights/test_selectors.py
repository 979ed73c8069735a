import re
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgery.architecture import Architecture
from surgery.errors import SelectorError
from surgery.weights import globs
from surgery.weights.model import Model
from surgery.weights.naming import renamed
from surgery.weights.selectors import Select, expand_braces
from surgery.weights.tensor import constant
from surgery.weights.weight import Weight

LAYERS = [
    ("block1_conv1", "Conv2D"),
    ("block1_conv2", "Conv2D"),
    ("block1_pool", "MaxPooling2D"),
    ("block2_conv1", "Conv2D"),
    ("block3_conv1", "Conv2D"),
    ("fc1", "Dense"),
    ("bn", "BatchNormalization"),
]


def model():
    entries = [{"class_name": c, "config": {"name": n, "trainable": n != "fc1"}} for n, c in LAYERS]
    inner = {"class_name": "Sequential", "config": {"name": "body", "layers": [
        {"class_name": "Dense", "config": {"name": "inner"}}]}}  # fmt: skip
    config = {"class_name": "Sequential", "config": {"name": "m", "layers": [*entries, inner]}}
    architecture = Architecture(config)
    weights = []
    for owner, slot in architecture.root.weights():
        shape = (3, 3, 2, 2) if owner.class_name == "Conv2D" else (4, 2)
        shape = (2,) if slot.name != "kernel" else shape
        dtype = np.float16 if owner.name == "fc1" else np.float32
        trainable = architecture.is_trained(slot.address, slot.trainable)
        tensor = constant(np.zeros(shape, dtype))
        weights.append(Weight(slot.address, tensor, (), slot.trainable, trainable))
    return Model(tuple(weights), architecture, origin="m.keras")


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("fc1/kernel", ["fc1/kernel"]),
        ("fc1", ["fc1/kernel", "fc1/bias"]),
        ("*/kernel", ["block1_conv1/kernel", "block1_conv2/kernel", "block2_conv1/kernel",
                      "block3_conv1/kernel", "fc1/kernel"]),
        ("**/kernel", ["block1_conv1/kernel", "block1_conv2/kernel", "block2_conv1/kernel",
                       "block3_conv1/kernel", "fc1/kernel", "body/inner/kernel"]),
        ("body", ["body/inner/kernel", "body/inner/bias"]),
        ("body/**", ["body/inner/kernel", "body/inner/bias"]),
        ("block{1..2}_conv1/bias", ["block1_conv1/bias", "block2_conv1/bias"]),
        ("{fc1,bn}/{bias,beta}", ["fc1/bias", "bn/beta"]),
        ("re:block[13]_conv1/kernel", ["block1_conv1/kernel", "block3_conv1/kernel"]),
        (["bn/beta", "fc1/bias"], ["fc1/bias", "bn/beta"]),
        ({"type": "Dense", "variable": "kernel"}, ["fc1/kernel", "body/inner/kernel"]),
        ({"trainable": False}, ["fc1/kernel", "fc1/bias", "bn/moving_mean", "bn/moving_variance"]),
        ({"dtype": "float16"}, ["fc1/kernel", "fc1/bias"]),
        ({"rank": 4, "path": "block1_*"}, ["block1_conv1/kernel", "block1_conv2/kernel"]),
        ({"min_size": 36, "not": "block1_*"}, ["block2_conv1/kernel", "block3_conv1/kernel"]),
        ({"layers": "block1_conv2..block2_conv1", "variable": "bias"},
         ["block1_conv2/bias", "block2_conv1/bias"]),
        ({"layers": "block1_pool..block1_pool"}, []),
    ],
)  # fmt: skip
def test_selects(selector, expected):
    assert [w.address for w in Select(selector).matches(model())] == expected


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("fc2/kernel", "fc2/kernel matches no weight of m.keras; the nearest are fc1/kernel"),
        ("a{b", "'a{b' has unbalanced or nested braces"),
        ("{{a}}", "'{{a}}' has unbalanced or nested braces"),
        ("b}a{", "'b}a{' has unbalanced or nested braces"),
        ("a{}", "'a{}' has empty braces; write {a,b} or {1..3}"),
        ("a{3..1}", "'a{3..1}' has a range that is empty or too long"),
        ("re:(", "'re:(' is not a regular expression: missing ), unterminated subpattern"),
        ("", 'an empty selector names nothing; "**" names every weight'),
        ([], 'an empty list names nothing; "**" names every weight'),
        ({"typ": "Dense"}, "unknown fact 'typ' (did you mean 'type'?); allowed: path, type"),
        ({"layers": "fc1..fc9"}, "layers: 'fc9' is not a layer of the model (did you mean 'fc1'?)"),
        ({"layers": "fc1..block1_conv1"}, "layers: 'block1_conv1' comes before 'fc1'"),
    ],
)
def test_refuses(selector, message):
    with pytest.raises(SelectorError) as error:
        Select(selector).weights(model())
    assert message in str(error.value)


def test_an_empty_match_can_be_allowed():
    assert Select("nothing").weights(model(), allow_empty=True) == ()


def test_braces_expand_in_order():
    assert expand_braces("{a,b}{1..2}") == ["a1", "a2", "b1", "b2"]
    assert expand_braces("w{08..10}") == ["w08", "w09", "w10"]


def test_a_range_of_layers_may_begin_and_end_inside_a_nested_model():
    names = ["a/kernel", "in/one/kernel", "in/two/kernel", "in/three/kernel", "z/kernel"]
    weight = constant(np.zeros(2, np.float32))
    nested = Model(tuple(Weight(name, weight) for name in names))
    for layers, expected in (
        ("a..in/two", names[:3]),
        ("in/two..z", names[2:]),
        ("a..in", names[:4]),
        ("in..z", names[1:]),
        ("in/two..in/two", names[2:3]),
    ):
        assert [w.address for w in Select({"layers": layers}).matches(nested)] == expected


def test_a_range_that_ends_with_a_layer_takes_only_what_is_inside_behind_it():
    weight = constant(np.zeros(2, np.float32))
    names = ["a/x/kernel", "b/kernel", "a/y/kernel"]
    parted = Model(tuple(Weight(name, weight) for name in names))
    found = Select({"layers": "a..a"}).matches(parted)
    assert [w.address for w in found] == ["a/x/kernel", "a/y/kernel"]


def long_names(count=300):
    weight = Weight("", constant(np.zeros(1, np.float32)))
    return Model(tuple(replace(weight, address=f"l{i}/{'a' * 60}/kernel") for i in range(count)))


@pytest.mark.parametrize(
    "selector",
    ["*a" * 40 + "c", "**a" * 40 + "c", "*" * 60 + "x", "?*" * 40, "l{0..9999}*/**/b*",
     "re:(a*)*b", "re:(?:a|a?)+[!]"],
)  # fmt: skip
def test_no_pattern_hangs(selector):
    started = time.process_time()
    assert Select(selector).matches(long_names()) == ()
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    "selector",
    [
        "re:(.*?a){25}",
        {"not": "re:(.*?a){25}"},
        ["l0", {"path": "re:(.*)(.*)(.*)(.*)\\1\\2z?\\d"}],
        [f"re:(.*?a){{25}}|x{i}" for i in range(9)],
    ],
    ids=["pattern", "fact", "list", "many"],
)
def test_a_regular_expression_has_a_second(selector):
    started = time.process_time()
    with pytest.raises(SelectorError, match="takes too long on the model's names"):
        Select(selector).matches(long_names())
    assert time.process_time() - started < 3


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("(?R)", "unknown extension"), ("(" * 5000, "recursion"), ("a{2}{3}", "multiple repeat")],
)
def test_regular_expressions_are_those_of_python(pattern, message):
    with pytest.raises(SelectorError, match=f"is not a regular expression: .*{message}"):
        Select(f"re:{pattern}")


@pytest.mark.parametrize(
    ("pattern", "to", "name", "expected"),
    [
        ("block1_*", "b1_*", "block1_conv", "b1_conv"),
        ("block1_*", "b1_*", "block1/conv", None),
        ("net/layer_*/**", "block_*/**", "net/layer_3/a/b", "block_3/a/b"),
        ("**/*", "*>**", "a/b/c", "a/b>c"),
        ("**_*", "**-*", "a_b_c", "a_b-c"),
        ("*a*", "*|*", "banana", "banan|"),
        ("a", "b", "a", "b"),
        ("*" * 50, "*" * 50, "name", "name"),
        ("*x" * 30, "*", "xy" * 100, None),
    ],
)
def test_renamed(pattern, to, name, expected):
    assert renamed(pattern, to, name) == expected


@given(
    st.lists(st.sampled_from(["*", "**", "?", "/", "/**", "**/", "a", "b", "."]), max_size=7),
    st.text("ab/.", max_size=9),
)
@settings(max_examples=300, deadline=None)
def test_globs_are_what_their_regular_expressions_are(parts, name):
    pattern = "".join(parts)
    pieces = {"**/": "(?:.*/)?", "/**": "(?:/.*)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    tokens = re.findall(r"\*\*/|/\*\*$|\*\*|.", pattern)
    regex = "".join(pieces.get(token) or re.escape(token) for token in tokens)
    assert globs.matches(pattern, name) == bool(re.fullmatch(regex, name))
    assert not re.fullmatch(regex, name) or name.startswith(globs.beginning(pattern))
