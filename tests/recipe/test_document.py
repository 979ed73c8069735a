import json
import math
import time

import pytest

from surgery.errors import RecipeError
from surgery.recipe.document import dotted, parse, plain, scalar


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("1_000", "1_000"), ("010", 10), ("0x1F", 31), ("0o17", 15), ("-7", -7),
        ("on", "on"), ("no", "no"), ("yes", "yes"), ("true", True), ("False", False),
        ("1:30:00", "1:30:00"), ("2024-01-01", "2024-01-01"), ("~", None), ("", None),
        ("null", None), (".5", 0.5), ("5.", 5.0), (".inf", math.inf), ("-.inf", -math.inf),
        ("none", "none"), ("10%", "10%"), ("<<", "<<"), ("1" * 400, "1" * 400),
    ],
)  # fmt: skip
def test_scalars_mean_what_people_think(text, value):
    found = scalar(text)
    assert found == value
    assert type(plain(found)) is type(value)


@pytest.mark.parametrize("text", ["1e-3", "010", "0x1F", "5.", "+7", "1.50", "7", "-0.25"])
def test_a_number_keeps_its_text(text):
    assert str(scalar(text)) == text


MERGED = """
base: &base {a: 1, b: {c: 2}}
more: &more {a: 7, d: 4}
one: {<<: *base, b: 3}
two: {<<: [*base, *more], e: 5}
nested: {<<: {<<: *more, d: 0}}
text: {"<<": 1}
"""


def test_merge_keys():
    """As YAML 1.1 has it: own keys count, then those of the first mapping that has them."""
    document = parse(MERGED.encode(), "r.yaml")
    assert document.value["one"] == {"a": 1, "b": 3}
    assert list(document.value["two"].items()) == [("a", 1), ("b", {"c": 2}), ("d", 4), ("e", 5)]
    assert document.value["nested"] == {"a": 7, "d": 0}
    assert document.value["text"] == {"<<": 1}
    assert document.keys["one", "b"] == (4, 18)
    assert document.keys["two", "d"] == (3, 20)
    assert document.duplicates == ()


def test_positions_of_values_and_keys():
    document = parse(b"a:\n  - b: 1\n    c: [x, y]\n", "r.yaml")
    assert document.value == {"a": [{"b": 1, "c": ["x", "y"]}]}
    assert document.values["a", 0, "c", 1] == (3, 12)
    assert document.keys["a", 0, "c"] == (3, 5)
    assert dotted(("a", 0, "c", 1)) == "a[0].c[1]"


def test_quoted_scalars_are_text():
    assert parse(b"a: '1'\nb: \"true\"\nc: |\n  1\n", "r").value == {
        "a": "1",
        "b": "true",
        "c": "1\n",
    }


@pytest.mark.parametrize("text", ["\U0001f600", "a\U0001f600b\u00e9", "\udcff", "\ude00\ud83d"])
def test_characters_that_json_escapes_in_two_halves(text):
    assert parse(json.dumps({text: [text]}).encode(), "r").value == {text: [text]}


def test_aliases_work_within_bounds():
    assert parse(b"a: &x [1, 2]\nb: *x\n", "r").value == {"a": [1, 2], "b": [1, 2]}


BOMB = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
)

MERGE_BOMB = "a: &a {x: 1}\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} {{<<: [{','.join(['*' + chr(97 + i)] * 9)}]}}\n"
    for i in range(9)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "including aliases (*name), or too deep"),
        (MERGE_BOMB, "including aliases (*name), or too deep"),
        ("a: &a {<<: *a}", "including aliases (*name), or too deep"),
        ("a: {<<: 1}", "<< takes a mapping, or a list of mappings"),
        ("a: &a [*a]", "including aliases (*name), or too deep"),
        ("a: " + "[" * 100 + "]" * 100, "is nested too deeply"),
        ("a: " + "{a: " * 2000 + "1" + "}" * 2000, "is nested too deeply"),
        ("x" * (2 << 20), "is larger than 1 MiB"),
        ("a: !!python/object/apply:os.system [ls]", "YAML tags are not allowed"),
        ("a: !!int 3", "YAML tags are not allowed"),
        ("a: \x01", "is not YAML"),
        ("%YAML 9.9\n---\na: 1", "is not YAML"),
    ],
)
def test_hostile_documents_end_soon_and_clearly(text, message):
    started = time.monotonic()
    with pytest.raises(RecipeError) as error:
        parse(text.encode(), "r.yaml")
    assert message in str(error.value)
    assert time.monotonic() - started < 5


def test_not_utf8():
    with pytest.raises(RecipeError, match=r"r.yaml:2:1: is not UTF-8 text"):
        parse(b"a: 1\nb: \xff", "r.yaml")
