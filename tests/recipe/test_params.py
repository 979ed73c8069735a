from pathlib import Path

import pytest

from surgery.errors import RecipeError, SurgeryError, UsageError
from surgery.recipe.params import given
from surgery.recipe.reading import RecipeFile, recipe_from

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


MORE = """
surgery: 1
name: r
env: [DATA, UNSET, EPOCHS]
params: {lr: 1e-3, none: null, opt: adam, sizes: [0, 1], to: {a: 1}, root: "${env:DATA}",
         at: "${root}/m", epochs: "${env:EPOCHS:4}"}
x-anchors: {steps: &train {anything: "${nothing}"}}
load: "${at}.keras"
steps:
  - train: {data: "${env:UNSET:d.npz}", loss: mse, epochs: "${epochs}",
            optimizer: {"${opt}": {learning_rate: "${lr}"}}}
  - permute: {select: a, order: "${sizes}"}
export: [{keras: "o-${lr}-${none}.keras"}]
"""


def more(text=MORE, env=None, **overrides):
    env = {"DATA": "/data", "OTHER": "x"} if env is None else env
    return RecipeFile(text.encode(), "r.yaml", Path(), overrides, env=env).only(None)


def test_values_of_every_kind_and_in_keys():
    recipe = more()
    assert recipe.load.path == Path("/data/m.keras")
    train, permute = (step.op for step in recipe.steps)
    assert train.optimizer.value["class_name"] == "Adam"
    assert train.optimizer.value["config"] == {"learning_rate": 0.001}
    assert (train.epochs, permute.order) == (4, (0, 1))
    assert recipe.export[0].path == Path("o-1e-3-null.keras")
    assert recipe.params["env:DATA"] == "/data"  # for the manifest
    assert "OTHER" not in str(recipe.params)
    assert "x-anchors" not in recipe.resolved


def test_overrides_of_every_kind():
    recipe = more(lr="5e-4", sizes="[1, 0]", root="here", epochs="7", at="${root}")
    assert recipe.export[0].path == Path("o-5e-4-null.keras")
    assert recipe.steps[1].op.order == (1, 0)
    assert recipe.steps[0].op.epochs == 7
    assert str(recipe.load.path) == "${root}.keras"  # what is given is taken as it is


WRONG = [
    ({"sizes": "3"}, {}, "-p sizes=3: expected a list, [a, b], as in the recipe"),
    ({"to": "[1"}, {}, "-p to=[1: is not YAML"),
    ({}, {}, "params.root: the environment variable DATA is not set; set it, or give a default"),
    ({"none": "[1, 2]"}, None, "export[0].keras: ${none} is a list, which cannot be part of text"),
    ({}, {"DATA": "s3://bucket/x"}, "used in a remote address, s3://bucket/x"),
]


@pytest.mark.parametrize(("overrides", "env", "said"), WRONG, ids=[each[2] for each in WRONG])
def test_wrong_values(overrides, env, said):
    with pytest.raises(SurgeryError) as error:
        more(env=env, **overrides)
    assert said in str(error.value)


HEAD = "surgery: 1\nload: m.keras\nexport: [{keras: o.keras}]\n"
WRONG_TEXTS = [
    ('env: [HF_TOKEN]\nname: "${env:HF_TOKEN}"', "env[0]: HF_TOKEN looks like a secret"),
    ('name: "${env:DATA}"', "name: ${env:DATA} is not listed; add env: [DATA] at the top"),
    ('name: "${DATA}"', "an environment variable is ${env:DATA}, with env: [DATA]"),
    ('params: {b: "${a}", a: 1}\nname: "${b}"', "params.b: ${a} is not a parameter"),
    ('params: {a: k}\nsteps: [{"${a}": {}}]', "unknown op 'k'"),
    ('params: {a: [x]}\nsteps: [{"${a}": {}}]', "${a} is a list, which cannot be a key"),
    ('params: {a: x}\nparams2: {x: 1, "${a}": 2}', "${a} is 'x', which is already a key here"),
    ('env: [DATA]\ncluster: {account: "${env:DATA}"}', "used in code or a script, which needs"),
    ('env: [DATA]\nmatrix: {d: ["${env:DATA}"]}\nsteps: [{train: {data: {generator: "${d}:f"}}}]',
     "used in code or a script, which needs --allow-code"),
    ('env: [DATA]\nparams: {p: "${env:DATA}"}\nmatrix: {d: ["${p}"]}\n'
     'steps: [{train: {data: {generator: "${d}:f"}}}]', "code or a script, which needs --allow"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), WRONG_TEXTS, ids=[said for _, said in WRONG_TEXTS])
def test_wrong_recipes(text, said):
    with pytest.raises(SurgeryError) as error:
        RecipeFile((HEAD + text).encode(), "r.yaml", Path(), env={"DATA": "d"}).all()
    assert said in str(error.value)


def test_variables_in_text_are_as_they_are():
    env = {"A": "", "B": "True", "C": "~", "D": "010"}
    text = (
        "surgery: 1\nenv: [A, B, C, D]\nparams: {build: '${env:D}'}\nload: m.keras\n"
        "steps: [{zero: {select: a, allow_empty: '${env:B}'}}]\n"
        "export: [{keras: 'o${env:A}-${env:B}-${env:C}-${build}.keras'}]\n"
    )
    recipe = RecipeFile(text.encode(), "r.yaml", Path(), env=env).only(None)
    assert recipe.export[0].path == Path("o-True-~-010.keras")
    assert recipe.steps[0].op.allow_empty is True  # alone it has the type that YAML gives it


def test_what_may_go_anywhere_with_permission(monkeypatch):
    monkeypatch.setenv("SURGERY_ALLOW_CODE", "1")
    text = HEAD + 'env: [DATA]\ncluster: {account: "${env:DATA}"}'
    assert RecipeFile(text.encode(), "r.yaml", Path(), env={"DATA": "d"}).cluster.account == "d"


def test_given():
    assert given("a=b=c") == ("a", "b=c")
    with pytest.raises(UsageError, match="write it as -p name=value"):
        given("a")
