import json

import pytest
from jsonschema import Draft202012Validator

from surgery.recipe.schema import recipe_schema
from tests.conftest import ROOT

SCHEMA = recipe_schema()


def mappings(schema, path=""):
    """Every schema of a key, with where it stands."""
    for name, inner in schema.get("properties", {}).items():
        yield f"{path}.{name}", inner
        yield from mappings(inner, f"{path}.{name}")
    if isinstance(schema.get("items"), dict):
        yield from mappings(schema["items"], path + "[]")


def test_the_checked_in_schema_is_the_generated_one():
    checked_in = json.loads((ROOT / "schemas/recipe.schema.json").read_text())
    assert checked_in == SCHEMA, "run: surgery schema --write"


def test_it_is_a_schema():
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "oneOf" not in json.dumps(SCHEMA)


@pytest.mark.parametrize(("path", "schema"), list(mappings(SCHEMA)), ids=lambda v: str(v)[:60])
def test_every_key_has_a_description_and_valid_examples(path, schema):
    assert schema["description"]
    assert schema["examples"]
    for example in schema["examples"]:
        errors = [e.message for e in Draft202012Validator(schema).iter_errors(example)]
        assert not errors, (path, example)


def test_every_mapping_is_closed():
    for path, schema in mappings(SCHEMA):
        if "properties" in schema:
            # A matrix has the names of parameters as keys, and closed values.
            free = (".matrix", ".matrix.zip")
            assert path in free or schema["additionalProperties"] is False, path
            assert schema["additionalProperties"] is not True, path
