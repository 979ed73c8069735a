from pathlib import Path

import pytest

from surgery.errors import RecipeError, UsageError
from surgery.recipe.params import given
from surgery.recipe.reading import recipe_from

TEXT = """
surgery: 1
params: {lowest: 10%, by: 2, name: out, deep: true, any: null}
load: {path: "${name}.keras"}
steps:
  - scale: {select: "${name}/kernel", by: "${by}"}
  - zero: {select: x, lowest: "${lowest}", allow_empty: "${deep}"}
export: [{keras: "$${x}/${name}-${by}-${deep}.keras"}]
"""


def read(**overrides):
    return recipe_from(TEXT.encode(), "r.yaml", Path("/base"), overrides)


def test_a_lone_reference_keeps_its_type_and_text_is_joined():
    recipe = read()
    assert recipe.steps[0].op.by == 2.0
    assert recipe.steps[1].op.allow_empty is True
    assert str(recipe.steps[0].op.select) == "out/kernel"
    assert recipe.export[0].path == Path("/base/${x}/out-2-true.keras")


def test_overrides_are_of_the_default_s_type():
    recipe = read(by="3.5", lowest="20%", deep="false", name="7")
    assert recipe.steps[0].op.by == 3.5
    assert str(recipe.steps[1].op.lowest) == "20%"
    assert recipe.steps[1].op.allow_empty is False
    assert str(recipe.steps[0].op.select) == "7/kernel"
    assert recipe.params["by"] == 3.5


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"by": "x"}, "-p by=x: expected a number, as in the recipe"),
        ({"deep": "7"}, "-p deep=7: expected true or false, as in the recipe"),
        (
            {"lowes": "1"},
            "-p lowes: the recipe has no parameter 'lowes' (did you mean 'lowest'?); "
            "it has lowest, by, name, deep, any",
        ),
    ],
)
def test_wrong_overrides(overrides, message):
    with pytest.raises(UsageError) as error:
        read(**overrides)
    assert str(error.value) == message


def test_a_parameter_s_value_is_checked_where_it_is_used():
    with pytest.raises(RecipeError, match=r"r.yaml:7:31: steps\[1\].zero.lowest: '200%' is more"):
        read(lowest="200%")


def test_given():
    assert given("a=b=c") == ("a", "b=c")
    with pytest.raises(UsageError, match="write it as -p name=value"):
        given("a")
