"""Every recipe that ships with the project runs; the mission's own on VGG16, against Keras."""

import json
import math

import numpy as np
import pytest

import surgery
from surgery.recipe.reading import RecipeFile, read_recipe
from tests.conftest import ROOT, command, dense_model, same_bytes

RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


def test_there_are_at_least_five():
    assert len(RECIPES) >= 5
    for path in RECIPES:
        assert path.read_text().startswith(
            "# yaml-language-server: $schema=../schemas/recipe.schema.json\n"
        )


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_valid(path):
    assert RecipeFile.read(path).all()


def run(name, tmp_path, *options):
    done = command("run", "--json", ROOT / "recipes" / name, "-p", f"out={tmp_path}", *options,
                   imported=["keras"])  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_prune_globally(tmp_path):
    facts = run("prune-globally.yaml", tmp_path, "-p", "lowest=25%")
    (step,) = facts["steps"]
    assert step["changed"] == math.floor(step["elements"] * 0.25)
    model = surgery.open(tmp_path / "mobilenet-pruned.keras")
    kernels = [w.tensor.numpy() for w in model.weights if w.variable == "kernel"]
    assert sum((k == 0).sum() for k in kernels) == step["changed"]
    threshold = min(np.abs(k[k != 0]).min() for k in kernels)
    assert threshold > 0


def test_transfer(tmp_path):
    run("transfer.yaml", tmp_path)
    for name in ("body.keras", "body.h5"):
        model = surgery.open(tmp_path / name)
        trained = {w.layer for w in model.weights if w.trainable}
        assert trained == {
            "block_16_expand", "block_16_expand_BN", "block_16_depthwise",
            "block_16_depthwise_BN", "block_16_project", "block_16_project_BN",
            "Conv_1", "Conv_1_bn",
        }  # fmt: skip


def test_tame(tmp_path):
    run("tame.yaml", tmp_path)
    model = surgery.open(tmp_path / "tame-weights")
    for weight in model.weights:
        if weight.variable == "kernel":
            assert np.abs(weight.tensor.numpy()).max() <= np.float32(0.1)
    assert (model["predictions/bias"].tensor.numpy() == np.float32(0.01)).all()


def test_convert(tmp_path):
    path = dense_model(tmp_path)
    surgery.save(surgery.open(path), h5=tmp_path / "old.h5")
    done = command(
        "run", ROOT / "recipes/convert.yaml", "-p", f"model={tmp_path / 'old.h5'}",
        "-p", f"to={tmp_path / 'new.keras'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert same_bytes(surgery.open(tmp_path / "new.keras"), surgery.open(path))


def test_fold(tmp_path):
    facts = run("fold.yaml", tmp_path)
    model = surgery.open(tmp_path / "folded.keras")
    assert model["predictions_factor/kernel"].shape == (1280, 16)
    assert not any("moving_mean" in weight.address for weight in model.weights)
    assert "fold_batchnorm: 52 BatchNormalization layers are folded" in str(facts)


def test_slim(tmp_path):
    facts = run("slim.yaml", tmp_path)
    model = surgery.open(tmp_path / "slim.keras")
    assert model["block_2_expand/kernel"].shape == (1, 1, 16, 96)
    assert model.parameters == 1_147_068
    assert "parameters 2,386,084 -> 1,147,068, FLOPs 113,900,324 -> 56,938,728" in str(facts)


def test_compress(tmp_path):
    run("compress.yaml", tmp_path)
    model = surgery.open(tmp_path / "compressed.keras")
    assert {w.tensor.dtype.name for w in model.weights} == {"float16"}
    kernel = model["conv_pw_13/kernel"].tensor.numpy()
    gone = ~kernel.any((0, 1, 2))
    assert gone.sum() == kernel.shape[-1] // 4
    assert all(len(np.unique(np.abs(column))) <= 128 for column in kernel.reshape(-1, 256).T[:9])
    from tests.conftest import same_bytes

    assert same_bytes(model, surgery.open(tmp_path / "compressed.safetensors"))


def test_the_mission_on_vgg16(tmp_path):
    """553 MB: everything that the recipe says, and nothing else, seen with Keras."""
    facts = run("vgg16-boost.yaml", tmp_path)
    assert [step["changed"] for step in facts["steps"][:2]] == [1728, 0]
    import keras

    source = read_recipe(ROOT / "recipes/vgg16-boost.yaml").load.open(42)
    loaded = keras.models.load_model(tmp_path / "vgg16.keras")
    trained = {w.path for w in loaded.trainable_weights}
    assert len(loaded.weights) == len(source.weights) == 32
    for before, after in zip(source.weights, loaded.weights, strict=True):
        assert before.address == after.path
        want, found = before.tensor.numpy(), after.numpy()
        assert np.array_equal(np.load(tmp_path / f"vgg16-weights/{after.path}.npy"), found)
        if after.path.startswith("block1_conv1/"):
            want = want * 2
        if after.path == "fc1/kernel":
            count = want.size // 10
            assert (found == 0).sum() == count == 10_276_044
            kept = found != 0
            assert np.array_equal(found[kept], want[kept])
            assert np.abs(want[~kept]).max() <= np.abs(want[kept]).min()
        else:
            assert want.tobytes() == found.tobytes(), after.path
        frozen = after.path.startswith(("block1_", "block2_", "block3_"))
        assert (after.path in trained) == (not frozen), after.path
