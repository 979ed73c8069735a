"""Plans and manifests say how large a model is before and after a step that changes its layers."""

import json

import pytest

from surgery.execution.execute import execute
from surgery.execution.planning import make_plan
from surgery.recipe.reading import read_recipe
from tests.conftest import command, dense_model

RECIPE = """\
surgery: 1
load: {model}
steps:
  - remove: {{select: b}}
  - prefix: {{with: t_}}
export:
  - keras: out.keras
"""


@pytest.fixture
def recipe(tmp_path):
    model = dense_model(tmp_path, layers=("a", "b"))
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(model=model))
    return path


def test_what_a_step_takes_away(recipe):
    first, second = make_plan(read_recipe(recipe)).steps
    layers, parameters, size, flops = first.sizes.values()
    assert layers[0] - layers[1] == 1
    assert parameters[0] > parameters[1] > 0
    assert size == tuple(4 * count for count in parameters)
    assert flops[0] > flops[1] > 0
    assert all(old == new for old, new in second.sizes.values())


def test_the_manifest_has_it(recipe):
    done = execute(make_plan(read_recipe(recipe)))
    steps = json.loads(done.manifest.read_text())["steps"]
    assert steps[0]["sizes"]["layers"] == list(done.plan.steps[0].sizes["layers"])


def test_a_row_for_each_layer(recipe):
    shown = command("plan", recipe, "--layers").stdout
    assert "t_a" in shown
    facts = json.loads(command("plan", recipe, "--layers", "--json").stdout)
    rows = {row["layer"]: row for row in facts["layers"]}
    assert rows["t_a"]["type"] == "Dense"
    assert rows["t_a"]["output"] == [[None, 3]]
    assert sum(row["parameters"] for row in rows.values()) == facts["parameters"]
    assert rows["t_a"]["flops"] == 2 * 3 * 4 + 3
