import json
from dataclasses import dataclass

import pytest
from jsonschema import Draft202012Validator

from surgery.declared.fields import key
from surgery.recipe.definitions import with_definitions
from surgery.recipe.schema import mapping_schema, recipe_schema
from tests.conftest import ROOT

SCHEMA = recipe_schema()


def mappings(schema, path=""):
    """Every schema of a key, with where it stands."""
    for name, inner in schema.get("properties", {}).items():
        yield f"{path}.{name}", inner
        yield from mappings(inner, f"{path}.{name}")
    if isinstance(schema.get("items"), dict):
        yield from mappings(schema["items"], path + "[]")


WRITTEN = json.loads((ROOT / "schemas/recipe.schema.json").read_text())


def in_place(schema, definitions):
    """The schema with what each `$ref` stands for beside what stands with it."""
    if isinstance(schema, list):
        return [in_place(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key != "$ref"}
    whole = {**definitions.get(schema.get("$ref", "").removeprefix("#/$defs/"), {}), **kept}
    return {key: in_place(value, definitions) for key, value in whole.items()}


def test_what_is_written_is_the_same_schema_with_what_is_shared_once():
    assert WRITTEN["$defs"]["Select"]["properties"]["layers"]
    written = {key: value for key, value in WRITTEN.items() if key != "$defs"}
    assert in_place(written, WRITTEN["$defs"]) == json.loads(json.dumps(SCHEMA))
    texts = [json.dumps(each, sort_keys=True) for each in WRITTEN["$defs"].values()]
    assert len(texts) == len(set(texts))


def test_it_is_a_schema():
    Draft202012Validator.check_schema(SCHEMA)
    Draft202012Validator.check_schema(WRITTEN)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "oneOf" not in json.dumps(SCHEMA)


@pytest.mark.parametrize(("path", "schema"), list(mappings(SCHEMA)), ids=lambda v: str(v)[:60])
def test_every_key_has_a_description_and_valid_examples(path, schema):
    assert schema["description"]
    assert schema["examples"]
    for example in schema["examples"]:
        errors = [e.message for e in Draft202012Validator(schema).iter_errors(example)]
        assert not errors, (path, example)


class Any:
    """A type of a package's, whose schema allows several types."""

    @classmethod
    def from_recipe(cls, value, _folder):
        return value

    @classmethod
    def schema(cls):
        return {"anyOf": [{"type": "integer"}, {"const": "all"}]}


@dataclass(frozen=True, kw_only=True)
class OfAny:
    one: Any = key("One.", 1, default=None)
    more: tuple[Any, ...] = key("More.", [1], default=())
    none: Any | None = key("One or none.", 1, default=None)


def test_a_type_s_schema_needs_no_type():
    schema = with_definitions({"title": "Whole", **mapping_schema(OfAny, "Of any.")})
    assert schema["properties"]["one"]["$ref"] == "#/$defs/Any"
    validator = Draft202012Validator(schema)
    assert validator.is_valid({"one": 1, "more": ["all", 2], "none": None})
    for wrong in ({"one": None}, {"more": [None]}, {"none": "some"}):
        assert not validator.is_valid(wrong)


def test_every_mapping_is_closed():
    for path, schema in mappings(SCHEMA):
        if "properties" in schema:
            # A matrix has the names of parameters as keys, and closed values.
            free = (".matrix", ".matrix.zip")
            assert path in free or schema["additionalProperties"] is False, path
            assert schema["additionalProperties"] is not True, path
