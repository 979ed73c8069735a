"""The recipes about digits: trained, pruned, fine-tuned, pruned while training, transferred."""

import numpy as np

import surgery
from surgery.execution.execute import execute
from surgery.execution.planning import make_plan
from surgery.recipe.reading import RecipeFile, read_recipe
from tests.conftest import ROOT, command, values


def run(out, name, **given):
    """In this process, so that the one with Keras goes from recipe to recipe."""
    recipe = read_recipe(ROOT / "recipes" / f"{name}.yaml", {"out": str(out), **given})
    return execute(make_plan(recipe, threads=1)).plan.steps


def accuracy(steps, index=-1):
    return steps[index].found["metrics"]["accuracy"]


def test_the_recipes_about_digits(tmp_path, digits):
    """One test, because each recipe goes on from what another one made."""
    trained = run(tmp_path, "digits-train")
    learned = accuracy(trained)
    assert learned >= 0.98
    keras_goes_on(tmp_path / "digits.keras", digits, learned)

    model = str(tmp_path / "digits.keras")
    pruned = run(tmp_path, "digits-prune", model=model)
    assert accuracy(pruned, 0) == learned
    assert accuracy(pruned) < 0.9

    cut = str(tmp_path / "digits-pruned.keras")
    tuned = run(tmp_path, "digits-finetune", model=cut, epochs="6")  # half of its own are enough
    assert accuracy(tuned) >= learned - 0.01
    zeros_stayed(tmp_path / "digits-pruned.keras", tmp_path / "digits-finetuned.keras")

    scheduled = run(tmp_path, "digits-schedule", model=model, epochs="9")  # it ends at step 180
    assert accuracy(scheduled) >= learned - 0.01
    for kernel in kernels(tmp_path / "digits-scheduled.keras").values():
        assert np.count_nonzero(kernel == 0) >= int(kernel.size * 0.8)

    transferred = run(tmp_path, "digits-transfer", model=model)
    assert [w.address for w in transferred[2].matched] == ["head/kernel", "head/bias"]
    assert len(transferred[4].matched) == 14
    assert accuracy(transferred) >= 0.97
    assert all(weight.trainable for weight in surgery.open(tmp_path / "even.keras").weights)

    swept = RecipeFile.read(
        ROOT / "recipes" / "digits-sweep.yaml", {"model": model, "out": str(tmp_path)}
    )
    ten, eighty, ninety = (
        accuracy(execute(make_plan(swept.run(index), threads=1)).plan.steps) for index in (0, 7, 8)
    )
    assert ten > learned - 0.02  # 10 % zeros cost little
    assert eighty == accuracy(pruned)
    assert ninety < 0.5

    manifests = sorted(tmp_path.glob("*.run.json"))
    assert len(manifests) == 5
    done = command("verify", *manifests)
    assert done.returncode == 0, done.stdout + done.stderr


def kernels(path):
    return {k: v for k, v in values(surgery.open(path)).items() if k.endswith("kernel")}


def zeros_stayed(before, after):
    pruned, tuned = kernels(before), kernels(after)
    assert len(pruned) == 8
    for name, kernel in pruned.items():
        zeros = kernel == 0
        assert zeros.mean() >= 0.79
        assert not tuned[name][zeros].any()
        assert (tuned[name][~zeros] != kernel[~zeros]).any()


def keras_goes_on(path, digits, learned):
    """Keras loads what was trained, measures the same, and trains it on with its optimizer."""
    import keras

    model = keras.saving.load_model(path)
    _, measured = model.evaluate(digits["x_test"], digits["y_test"], verbose=0)
    assert abs(measured - learned) < 1e-6
    assert int(model.optimizer.iterations) == 25 * 23
    before = model.get_weights()
    model.fit(digits["x_train"][:32], digits["y_train"][:32], verbose=0)
    assert any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))
