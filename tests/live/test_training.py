"""What a training keeps: frozen layers, zeros, masks, dtypes; and what it says."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

import surgery
from surgery.data.npz import Npz
from surgery.execution.execute import execute
from surgery.execution.planning import make_plan
from surgery.recipe.reading import read_recipe
from tests.conftest import values
from tests.live.conftest import DIGITS, TEST_DATA, command, recipe, train


def run(path):
    return execute(make_plan(read_recipe(path)))


def test_a_plan_opens_the_data_once(net, tmp_path, monkeypatch):
    opened, before = [], Npz.open
    monkeypatch.setattr(Npz, "open", lambda self: opened.append(self) or before(self))
    make_plan(read_recipe(recipe(tmp_path, train(validation_split=0.2))))
    assert len(opened) == 1


OPTIMIZERS = ["sgd", "rmsprop", "adamw", "lion"]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_zeros_are_kept_with_any_optimizer(optimizer, net, tmp_path):
    zero = {"zero": {"select": "*/kernel", "lowest": "50%"}}
    momentum = {"sgd": {"learning_rate": 0.1, "momentum": 0.9}} if optimizer == "sgd" else optimizer
    done = run(recipe(tmp_path, zero, train(optimizer=momentum, keep_zeros=True)))
    before, after = values(surgery.open(net)), values(surgery.open(tmp_path / "out/model.keras"))
    for name in ("hidden/kernel", "digit/kernel"):
        lowest = np.argsort(np.abs(before[name]).reshape(-1), kind="stable")
        zeros = lowest[: before[name].size // 2]
        assert not after[name].reshape(-1)[zeros].any()
        assert np.count_nonzero(after[name] == 0) <= len(zeros) + 2
    assert after["digit/bias"].all()  # zero at first, and trained
    assert done.plan.steps[1].found["epochs"] == 1


def test_frozen_layers_and_masked_parts_stay(net, tmp_path):
    mask = np.zeros((12, 10), bool)
    mask[:, :4] = True
    np.save(tmp_path / "mask.npy", mask)
    keep = [{"select": "digit/kernel", "mask": "mask.npy"}]
    run(recipe(tmp_path, {"freeze": {"select": "hidden"}}, train(keep=keep)))
    before, after = values(surgery.open(net)), values(surgery.open(tmp_path / "out/model.keras"))
    for name in ("hidden/kernel", "hidden/bias"):
        assert before[name].tobytes() == after[name].tobytes()
    kernel = before["digit/kernel"], after["digit/kernel"]
    assert kernel[0][:, :4].tobytes() == kernel[1][:, :4].tobytes()
    assert (kernel[0][:, 4:] != kernel[1][:, 4:]).all()


def test_an_average_of_weights_keeps_what_is_kept(net, tmp_path):
    """use_ema puts averages in the weights' places when the training ends."""
    mask = np.zeros((12, 10), bool)
    mask[3:6] = True
    np.save(tmp_path / "mask.npy", mask)
    keep = [{"select": "digit/kernel", "mask": "mask.npy"}]
    averaging = {"adam": {"use_ema": True, "ema_momentum": 0.9, "weight_decay": 0.01}}
    run(recipe(tmp_path, train(keep=keep, optimizer=averaging)))
    before, after = values(surgery.open(net)), values(surgery.open(tmp_path / "out/model.keras"))
    kernel = before["digit/kernel"], after["digit/kernel"]
    assert kernel[0][mask].tobytes() == kernel[1][mask].tobytes()
    assert (kernel[0][~mask] != kernel[1][~mask]).all()


def test_two_trainings_of_one_name_are_two(net, tmp_path):
    """Neither takes up what the other one left."""
    steps = [{"name": "fit", **train()}, {"name": "Fit!", **train()}, {"name": "fit", **train()}]
    done = run(recipe(tmp_path, *steps))
    found = [step.found for step in done.plan.steps]
    assert [each["resumed_from"] for each in found] == [0, 0, 0]
    assert len({each["metrics"]["loss"] for each in found}) == 3


def test_half_precision_computes_and_full_precision_is_kept(net, tmp_path):
    run(recipe(tmp_path, train(mixed_precision="mixed_float16")))
    model = surgery.open(tmp_path / "out/model.keras")
    assert {weight.tensor.dtype.name for weight in model.weights} == {"float32"}
    assert "float16" not in json.dumps(model.architecture.config)
    assert model.carried.compile_config["optimizer"]["class_name"] == "LossScaleOptimizer"
    assert (
        values(model)["hidden/kernel"].tobytes()
        != values(surgery.open(net))["hidden/kernel"].tobytes()
    )


def test_what_follows_a_training_streams_on(net, tmp_path):
    """Steps after it, metrics of one before and one after, files, and an expectation."""
    path = recipe(
        tmp_path,
        train(epochs=2, class_weight={"1": 2.0}, callbacks={"csv_logger": {"filename": "h.csv"}}),
        {"evaluate": {"data": TEST_DATA}},
        {"scale": {"select": "digit", "by": 0.5}},
        {"predict": {"data": {**TEST_DATA, "y": None}, "export": "out/p.npz"}},
        {"activations": {"layers": ["hidden"], "data": TEST_DATA, "export": "out/a.npz"}},
        export=[{"keras": "out/model.keras"}, {"npy": "out/w"}],
        expect=[{"metric": {"name": "accuracy", "at_least": 0.5}}, {"finite": {"select": "**"}}],
    )  # fmt: skip
    done = command("run", path)
    assert done.returncode == 0, done.stderr
    assert "wrote" in done.stdout
    assert "1. train on digits.npz: 2 epochs: accuracy 0." in done.stdout
    assert "5. activations of hidden: 1 layer" in done.stdout
    assert len((tmp_path / "h.csv").read_text().splitlines()) == 3
    import keras

    with np.load(DIGITS) as arrays:
        x = arrays["x_test"]
    model = keras.saving.load_model(tmp_path / "out/model.keras")
    with np.load(tmp_path / "out/p.npz") as made:
        np.testing.assert_allclose(made["y"], model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)
    inner = keras.Model(model.inputs, model.get_layer("hidden").output)
    with np.load(tmp_path / "out/a.npz") as made:
        np.testing.assert_allclose(
            made["hidden"], inner.predict(x, verbose=0), rtol=1e-5, atol=1e-5
        )
    assert command("verify", tmp_path / "out/r.run.json").returncode == 0
    (tmp_path / "out/p.npz").write_bytes(b"other")
    assert "p.npz" in command("verify", tmp_path / "out/r.run.json").stdout


def test_the_same_training_gives_the_same_bytes(net, tmp_path):
    path = recipe(tmp_path, train())
    run(path)
    first = (tmp_path / "out/model.keras").read_bytes()
    (tmp_path / "out/model.keras").unlink()
    run(path)
    assert (tmp_path / "out/model.keras").read_bytes() == first


@pytest.mark.parametrize(
    ("limit", "code", "on"), [(10.0, 0, {}), (0.0001, 3, {"on": "data", "data": TEST_DATA})]
)
def test_how_far_the_outputs_may_change(limit, code, on, net, tmp_path):
    path = recipe(
        tmp_path,
        {"scale": {"select": "digit/kernel", "by": 1.2}},
        expect=[{"output_change": {"at_most": limit, **on}}],
    )
    done = command("run", path)
    assert done.returncode == code, done.stderr
    assert (tmp_path / "out/model.keras").exists() == (code == 0)
    assert code == 0 or "expect[0].output_change: the outputs changed by 0." in done.stderr


PROBLEMS = [
    (train(optimizer="adamm"), "Keras has no optimizer 'adamm' (did you mean 'adam'?)"),
    (train(loss="mse_loss"), "Keras has no loss 'mse_loss'"),
    (train(data="digits.tgz"), "write 'digits.tgz' with its kind: csv, generator, images"),
    (train(data={"npz": "no.npz"}), "no.npz is not a .npz file of numbers: No such file"),
    (train(data={"npz": str(DIGITS)}), "has no array 'x'; it has x_train, y_train"),
    (train(data={"npz": str(DIGITS), "x": "y_test", "y": "y_test"}),
     "an example of y_test has the shape [], and the model takes [8, 8, 1]"),
    (train(data={"npz": str(DIGITS), "x": "x_test", "y": "y_train"}),
     "the arrays differ in their number of examples: x_test [360, 8, 8, 1], y_train [1437]"),
    (train(validation_split="10%", validation=TEST_DATA), "give either validation or"),
    (train(callbacks={"early_stoping": {}}), "unknown key 'early_stoping' (did you mean 'early_"),
    (train(callbacks={"early_stopping": {"patience": -1}}), "patience"),
    (train(optimizer={"adam": {"lr": 0.1}}),
     "Adam has no argument 'lr' (it is learning_rate); it has learning_rate, beta_1"),
    (train(optimizer={"class_name": "SGD", "config": {"momentun": 0.9}}),
     "SGD has no argument 'momentun' (did you mean 'momentum'?)"),
    (train(optimizer={"adam": {"learning_rate": {"cosine_decay": {"decay_steps": 9}}}}),
     "CosineDecay needs initial_learning_rate"),
    (train(optimizer={"adam": {"learning_rate": "fast"}}), "write a learning rate as a number"),
    (train(optimizer={"sgd": {"learning_rate": {"cosine": {}}}}), "has no learning rate 'cosine'"),
    (train(loss={"huber": {"deltas": 1}}), "Huber has no argument 'deltas' (did you mean 'delta'"),
    (train(loss={"mse": {"reduction": "sum"}}), "'mse' takes no arguments; write the class"),
    (train(metrics=[{"mean_io_u": {}}]), "MeanIoU needs num_classes"),
    (train(learning_rate=0.1), "learning_rate is for the model's own optimizer"),
    (train(class_weight={"0": 2}, loss={"a": "mse", "b": "mse"}), "class_weight works for one"),
    (train(optimizer={"sgd": {"learning_rate": {"polynomial_decay": {
        "initial_learning_rate": 0.1, "decay_steps": 9}}}},
        callbacks={"reduce_lr_on_plateau": {}}), "cannot lower a learning rate that follows"),
    (train(prune_schedule={"select": "x", "to": "80%", "end": 5}), "x matches no weight"),
    (train(prune_schedule={"select": "**", "to": "80%", "begin": 5, "end": 5}), "not after begin"),
    (train(prune_schedule={"select": "**/kernel", "to": "80%", "end": 45}),
     "prune_schedule ends at step 45, and the training has 45 steps (1 epochs)"),
    (train(class_weight={"0": None}), "class_weight: 0: None is not a class number and its weight"),
    (train(class_weight={"0": -1}), "class_weight: 0: -1 is not a class number and its weight"),
    (train(keep_zeros=True, optimizer={"adam": {"use_ema": True, "ema_overwrite_frequency": 2}}),
     "ema_overwrite_frequency replaces the weights by averages"),
    (train(keep=[{"select": "digit/kernel", "mask": "m.npy"}],
           prune_schedule={"select": "digit/kernel", "to": "5%", "end": 9}),
     "digit/kernel is selected by both keep and prune_schedule"),
    (train(callbacks={"csv_logger": {"filename": "net.keras"}}), "is an input, which is never"),
    (train(callbacks={"model_checkpoint": {"filepath": "out/model.keras"}}), "is a target"),
    ({"evaluate": {"data": TEST_DATA}}, "the model is not compiled; give loss, and metrics"),
    (train(data={"generator": "my:batches"}), "is code, which runs only with --allow-code"),
    (train(data={"generator": "my batches"}), "is not a name such as package.module:function"),
    ({"evaluate": {"data": TEST_DATA, "metrics": ["accuracy"]}}, "metrics go with loss"),
    ({"activations": {"layers": ["hiden"], "data": TEST_DATA}},
     "the model has no layer 'hiden' (did you mean 'hidden'?)"),
    ({"predict": {"data": TEST_DATA, "export": "out/model.keras"}}, "is a target; choose another"),
    ({"predict": {"data": TEST_DATA, "export": "net.keras"}}, "never written to"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("step", "message"), PROBLEMS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_mistakes_are_told_before_any_work(step, message, net, tmp_path):
    np.save(tmp_path / "m.npy", np.ones((12, 10)))
    done = command("plan", recipe(tmp_path, step))
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_metric_that_no_step_finds(net, tmp_path):
    path = recipe(tmp_path, expect=[{"metric": {"name": "accuracy", "at_least": 0.5}}])
    done = command("plan", path)
    assert done.returncode == 2
    assert "no step measures a metric; add evaluate, or train" in done.stderr


def test_the_plan_of_a_training_needs_no_tensorflow_and_counts_its_memory(net, tmp_path):
    path = recipe(tmp_path, train(epochs=1000))
    done = command("plan", "--json", path)
    facts = json.loads(done.stdout)
    assert facts["tensorflow"]
    assert facts["memory"] > 700e6
    assert facts["steps"][0]["changes_at_most"] is None


def test_a_loss_that_is_not_a_number_is_told(net, tmp_path):
    broken = {"set": {"select": "hidden/bias", "to": 3e38}}
    done = command(
        "run", recipe(tmp_path, broken, train(epochs=2, optimizer={"sgd": {"learning_rate": 1e30}}))
    )
    assert done.returncode == 1
    assert "the loss is nan after epoch 1; lower the learning rate" in done.stderr
    assert not list((tmp_path / "out").glob("*.keras"))


def test_the_process_with_keras_ends_when_it_cannot_read_a_job(tmp_path):
    """It waited for ever."""
    folder = tmp_path / "folder"
    folder.mkdir()
    command = [sys.executable, "-m", "surgery.live.process.worker", "1", str(folder)]
    done = subprocess.run(command, input=b"no pickle", capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert not folder.exists()


def test_metrics_are_those_of_the_weights_that_are_saved(net, tmp_path):
    """The best epoch, and the average of the weights, are measured; the history stays."""
    import keras

    stop = {"early_stopping": {"patience": 2, "restore_best_weights": True}}
    for keys in (
        {"callbacks": stop, "optimizer": {"sgd": {"learning_rate": 40.0}}, "epochs": 4},
        {"optimizer": {"adam": {"use_ema": True, "learning_rate": 0.01}}, "epochs": 2},
    ):
        step = train(validation=TEST_DATA, shuffle=False, batch_size=400, **keys)
        found = run(recipe(tmp_path, step)).plan.steps[0].found
        model = keras.models.load_model(tmp_path / "out" / "model.keras")
        with np.load(DIGITS) as arrays:
            loss, accuracy = model.evaluate(arrays["x_test"], arrays["y_test"], verbose=0)
        assert found["metrics"]["val_loss"] == pytest.approx(loss, rel=1e-5)
        assert found["metrics"]["val_accuracy"] == pytest.approx(accuracy, rel=1e-5)
        assert found["history"]["val_loss"][-1] != pytest.approx(loss, rel=1e-3)


SCHEDULE = {"select": "digit/kernel", "to": "80%", "end": 200, "every": 10}
STOPS = {"early_stopping": {"monitor": "loss", "min_delta": 10.0, "patience": 1}}


@pytest.mark.parametrize("at_end", ["fail", "prune"])
def test_a_prune_schedule_that_is_not_reached(at_end, net, tmp_path):
    schedule = {**SCHEDULE, "at_end": at_end}
    step = train(epochs=9, callbacks=STOPS, prune_schedule=schedule)
    done = command("run", recipe(tmp_path, step))
    if at_end == "fail":
        assert done.returncode == 1
        assert "prune_schedule ends at step 200, and the training ended after 90 steps" in (
            done.stderr
        )
        assert not (tmp_path / "out" / "model.keras").exists()
    else:
        assert done.returncode == 0, done.stderr
        kernel = values(surgery.open(tmp_path / "out" / "model.keras"))["digit/kernel"]
        assert np.count_nonzero(kernel == 0) == kernel.size * 8 // 10


def test_every_epoch_is_a_line(net, tmp_path):
    path = recipe(tmp_path, train(epochs=2))
    done = command("run", path)
    told = re.findall(r"r: epoch number=(\d) of=2 accuracy=0\.\d+ loss=\d\.\d+", done.stderr)
    assert told == ["1", "2"], done.stderr
    assert "percent" not in done.stderr
    done = command("run", path, "--force", "--log-format", "json")
    events = [json.loads(line) for line in done.stderr.splitlines()]
    epochs = [event for event in events if event["event"] == "epoch"]
    assert [event["number"] for event in epochs] == [1, 2]
    assert {"loss", "accuracy", "of"} <= epochs[0].keys()


def test_metrics_by_the_names_of_steps(net, tmp_path):
    """Each is expected by its step's name, and what fails comes after the report."""
    measure = {"data": TEST_DATA, "loss": "sparse_categorical_crossentropy"}
    steps = [
        {"name": "before", "evaluate": {**measure, "metrics": ["accuracy"]}},
        train(),
        {"name": "after", "evaluate": {"data": TEST_DATA}},
    ]
    expect = [
        {"metric": {"name": "before/accuracy", "at_most": 0.3}},
        {"metric": {"name": "after/accuracy", "at_most": 0.3}},
    ]
    done = command("run", recipe(tmp_path, *steps, expect=expect))
    assert done.returncode == 3
    assert done.stderr.count("expected") == 1
    assert "expect[1].metric: after/accuracy is 0." in done.stderr
    assert "2. train on digits.npz: 1 epoch: accuracy 0." in done.stdout
    assert "done in" not in done.stdout
    run(recipe(tmp_path, *steps, expect=expect[:1]))
    facts = json.loads((tmp_path / "out" / "r.run.json").read_text())
    assert {"before/accuracy", "after/accuracy", "accuracy"} <= facts["metrics"].keys()
    assert facts["metrics"]["accuracy"] == facts["metrics"]["after/accuracy"]
    wrong = [{"metric": {"name": "aftr/accuracy", "at_least": 0.5}}]
    done = command("plan", recipe(tmp_path, *steps, expect=wrong))
    assert "no step that measures metrics is called 'aftr' (did you mean 'after'?)" in done.stderr


def test_measuring_from_python(net, tmp_path):
    path = recipe(tmp_path, train(), {"evaluate": {"data": TEST_DATA}})
    result = run(path)
    found = surgery.evaluate(surgery.open(tmp_path / "out" / "model.keras"), data=TEST_DATA)
    assert found == pytest.approx(result.plan.steps[1].found["metrics"], rel=1e-5)
    assert result.metrics["accuracy"] == pytest.approx(found["accuracy"])
