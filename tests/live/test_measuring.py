"""sensitivity, bisect and activations, as commands."""

import csv
import json
import shutil

import numpy as np
import pytest

from tests.live.conftest import TEST_DATA, command, recipe, train

DATA = json.dumps(TEST_DATA)
LOSS = "sparse_categorical_crossentropy"


@pytest.fixture(scope="module")
def trained(small_net, tmp_path_factory):
    """The small net, trained for a few epochs."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copy(small_net, folder / "net.keras")
    done = command("run", recipe(folder, train(epochs=8, batch_size=16)))
    assert done.returncode == 0, done.stderr
    return folder / "out" / "model.keras"


def measured(model, digits):
    _, found = model.evaluate(digits["x_test"], digits["y_test"], verbose=0)
    return found


def sensitivity(*arguments):
    done = command("sensitivity", *arguments, "--data", DATA)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_sensitivity_is_what_keras_measures_and_goes_on_from_its_table(trained, digits, tmp_path):
    import keras

    table, picture = tmp_path / "t.csv", tmp_path / "t.png"
    options = ["--levels", "30%,90%", "--csv", table]
    facts = json.loads(sensitivity(trained, "--json", *options, "--picture", picture))
    assert picture.read_bytes().startswith(b"\x89PNG")
    model = keras.saving.load_model(trained)
    assert facts["base"]["accuracy"] == pytest.approx(measured(model, digits))
    layers = {"hidden/kernel": model.get_layer("hidden"), "digit/kernel": model.get_layer("digit")}
    assert [p["weight"] for p in facts["points"]] == [name for name in layers for _ in range(2)]
    for point in facts["points"]:
        kernel = layers[point["weight"]].kernel
        before = kernel.numpy()
        flat = before.reshape(-1).copy()
        flat[np.argsort(np.abs(flat), kind="stable")[: int(len(flat) * point["level"])]] = 0
        kernel.assign(flat.reshape(before.shape))
        assert point["metrics"]["accuracy"] == pytest.approx(measured(model, digits))
        kernel.assign(before)

    lines = table.read_text().splitlines()
    table.write_text("\n".join(lines[:4]) + "\n" + lines[4][:-5])  # killed while writing
    again = json.loads(sensitivity(trained, "--json", *options))
    assert again == facts
    assert table.read_text().splitlines() == lines
    with table.open() as file:
        levels = [row["level"] for row in csv.DictReader(file)]
    assert levels == ["", "3/10", "9/10", "3/10", "9/10"]
    text = sensitivity(trained, *options)  # all of it is in the table
    assert text.splitlines()[0].split() == ["accuracy", "by", "share", "of", "zeros", "30%", "90%"]
    assert "unchanged: accuracy 0." in text


@pytest.mark.parametrize(("kind", "levels"), [("noise", "0.01,5"), ("bits", "12,2")])
def test_other_kinds(kind, levels, trained):
    facts = json.loads(
        sensitivity(
            trained, "--json", "--kind", kind, "--levels", levels, "--select", "hidden/kernel"
        )
    )
    little, much = (point["metrics"]["accuracy"] for point in facts["points"])
    assert abs(little - facts["base"]["accuracy"]) < 0.03
    assert much < facts["base"]["accuracy"] - 0.1


WRONG = [
    (["--levels", "120%"], "--levels 120%: '120%' is more than the whole"),
    (["--kind", "bits", "--levels", "0"], "bits are 1 to 24"),
    (["--select", "nothing"], "nothing matches no weight"),
    (["--metric", "precisio", "--loss", LOSS], "Keras has no metric 'precisio' (did you mean"),
    (["--metric", "auc"], "the metric 'auc' is not measured; there are accuracy, loss"),
    (["-p", "a=b"], "-p requires a recipe"),
]


@pytest.mark.parametrize(
    ("options", "message"), WRONG, ids=lambda v: v if isinstance(v, str) else ""
)
def test_wrong_options(options, message, trained):
    done = command("sensitivity", trained, "--data", DATA, "--levels", "50%", *options)
    assert done.returncode == 2, done.stdout
    assert message in done.stderr


@pytest.mark.parametrize(
    "data", ["no.npz", "{npz: }", "{nzp: a.npz}", "x.tgz", "{npz: a.npz, z: 3}"]
)
def test_wrong_data(data, trained):
    done = command("sensitivity", trained, "--data", data)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr


def test_sensitivity_of_what_a_recipe_makes(trained, tmp_path):
    path = recipe(tmp_path, {"zero": {"select": "digit"}}, load=str(trained))
    text = sensitivity(path, "--select", "hidden/kernel", "--levels", "10%")
    assert text.splitlines()[1].split()[-1] == text.splitlines()[2].split()[-1]


def test_bisect_finds_the_step_that_broke_the_model(trained, tmp_path):
    path = recipe(
        tmp_path,
        {"shift": {"select": "hidden/bias", "by": 0.001}},
        {"zero": {"select": "digit/kernel", "lowest": "10%"}},
        {"zero": {"select": "hidden/kernel"}},
        {"scale": {"select": "digit", "by": 1.01}},
        {"freeze": {"select": "hidden"}},
        load=str(trained),
    )
    done = command("bisect", path, "--data", DATA, "--drop", "5%")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "step 3 breaks the model: zero hidden/kernel"
    assert "WARNING" not in done.stderr  # TensorFlow's, that it traces again
    facts = json.loads(command("bisect", path, "--data", DATA, "--drop", "5%", "--json").stdout)
    assert facts["step"] == 3
    assert [each["steps"] for each in facts["measured"]] == [0, 2, 3, 5]


def test_bisect_by_a_loss_which_gets_worse_by_growing(trained, tmp_path):
    steps = [{"scale": {"select": "digit", "by": 1.0}}, {"zero": {"select": "digit"}}]
    path = recipe(tmp_path, *steps, load=str(trained))
    done = command("bisect", path, "--data", DATA, "--metric", "loss", "--loss", LOSS)
    assert done.stdout.splitlines()[-1] == "step 2 breaks the model: zero digit"
    path = recipe(tmp_path, steps[0], load=str(trained))
    done = command("bisect", path, "--data", DATA, "--metric", "loss", "--loss", LOSS)
    assert done.stdout.splitlines()[-1] == "no step makes loss worse by more than 1%"


def test_bisect_takes_what_is_no_number_for_broken(trained, tmp_path):
    steps = [{"scale": {"select": "digit", "by": 1.0}}, {"scale": {"select": "**", "by": 1e30}}]
    path = recipe(tmp_path, *steps, load=str(trained))
    done = command("bisect", path, "--data", DATA, "--metric", "loss", "--loss", LOSS, "--json")
    facts = json.loads(done.stdout, parse_constant=pytest.fail)
    assert facts["step"] == 2
    assert facts["measured"][-1]["loss"] is None


def test_all_layers_and_half_precision(tmp_path):
    """Every layer that is called; bfloat16, which .npz has not, as float32."""
    import keras

    layers = keras.layers
    model = keras.Sequential([
        keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(4, dtype="mixed_bfloat16", name="d"),
        layers.Dense(1, name="e"), layers.Reshape((), name="flat"),
    ])  # fmt: skip
    model.save(tmp_path / "m.keras")
    options = ["--layers", "*", "--data", DATA, "--export", tmp_path / "a.npz", "--json"]
    done = command("activations", tmp_path / "m.keras", *options)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)["layers"]
    assert {"d", "e", "flat"} <= set(facts)
    assert facts["flat"]["units"] == 1
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["d"].dtype == np.float32


def test_activations(trained, digits, tmp_path):
    import keras

    out = tmp_path / "new" / "a.npz"
    options = ["--layers", "hidden,di*", "--data", DATA, "--export", out]
    done = command("activations", trained, *options, "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)["layers"]
    assert set(facts) == {"hidden", "digit"}
    model = keras.saving.load_model(trained)
    inner = keras.Model(model.inputs, model.get_layer("hidden").output)
    values = inner.predict(digits["x_test"], verbose=0)
    assert facts["hidden"]["zeros"] == pytest.approx((values == 0).mean())
    assert facts["hidden"]["mean"] == pytest.approx(values.mean(), rel=1e-4)
    assert facts["hidden"]["dead_units"] == int((values == 0).all(axis=0).sum())
    with np.load(out) as arrays:
        np.testing.assert_allclose(arrays["hidden"], values, rtol=1e-5, atol=1e-5)
        assert arrays["digit"].shape == (360, 10)
    assert list(out.parent.iterdir()) == [out]
