"""Compile configs of Keras 1 and 2, as Keras 3 takes them."""

import pytest

from surgery.architecture.upgrades.compiling import upgraded_compile_config


def optimizer(class_name, **config):
    return {"class_name": class_name, "config": {"name": class_name, **config}}


DECAY = {"initial_learning_rate": 0.1, "decay_steps": 1, "decay_rate": 0.01}
OPTIMIZERS = [
    (optimizer("SGD", lr=0.1, decay=0.0, momentum=0.9, nesterov=True), "SGD",
     {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True}),
    (optimizer("Custom>Adam", learning_rate=0.01, jit_compile=False, is_legacy_optimizer=False,
               beta_1=0.8, weight_decay=None), "Adam", {"learning_rate": 0.01, "beta_1": 0.8}),
    (optimizer("RMSprop", learning_rate=0.1, decay=0.01), "RMSprop", {"learning_rate": {
        "module": "keras.optimizers.schedules", "class_name": "InverseTimeDecay", "config": DECAY,
        "registered_name": None}}),
]  # fmt: skip


@pytest.mark.parametrize(("before", "class_name", "after"), OPTIMIZERS)
def test_optimizers(before, class_name, after):
    import keras

    new = upgraded_compile_config({"optimizer_config": before, "loss": "mse"})["optimizer"]
    assert new["class_name"] == class_name
    assert new["config"] == {"name": before["config"]["name"], **after}
    assert keras.saving.deserialize_keras_object(new).name == before["config"]["name"]


def loss(**config):
    return {"class_name": "CategoricalCrossentropy", "config": config}


LOSSES = [
    ("mse", "mse"),
    ("kullback_leibler_divergence", "kl_divergence"),
    ({"a": "mae", "b": "logcosh"}, {"a": "mae", "b": "log_cosh"}),
    (["mse", "hinge"], ["mse", "hinge"]),
    (loss(reduction="auto", name="x", from_logits=True, fn="categorical_crossentropy"),
     {"module": "keras.losses", "class_name": "CategoricalCrossentropy", "registered_name": None,
      "config": {"reduction": "sum_over_batch_size", "name": "x", "from_logits": True}}),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after"), LOSSES)
def test_losses(before, after):
    adam = optimizer("Adam", learning_rate=0.1)
    assert upgraded_compile_config({"optimizer_config": adam, "loss": before})["loss"] == after


def wrapper(name, function):
    return {"class_name": "MeanMetricWrapper", "config": {"name": name, "dtype": "float32",
                                                          "fn": function}}  # fmt: skip


METRICS = [
    (["accuracy"], ["accuracy"]),
    ([[wrapper("acc", "sparse_categorical_accuracy")]], ["acc"]),
    ([wrapper("error", "mean_absolute_error")], ["mean_absolute_error"]),
]


@pytest.mark.parametrize(("before", "after"), METRICS)
def test_metrics(before, after):
    given = {"optimizer": optimizer("Adam"), "loss": "mse", "metrics": before}
    assert upgraded_compile_config(given)["metrics"] == after


@pytest.mark.parametrize(("config", "why"), [
    ({"optimizer_config": optimizer("Nadam", schedule_decay=0.004)}, "Nadam has no schedule_decay"),
    ({"optimizer_config": optimizer("MyOptimizer")}, "no optimizer MyOptimizer"),
    ({"optimizer_config": optimizer("SGD"), "loss": "my_loss"}, "no loss my_loss"),
    ({"optimizer_config": optimizer("SGD"), "loss": "cosine_proximity"}, "no loss cosine_prox"),
    ({"optimizer_config": optimizer("SGD"), "metrics": ["mine"]}, "no metric mine"),
    ({}, "its optimizer is not recognised"),
])  # fmt: skip
def test_what_has_no_equal(config, why):
    with pytest.raises(ValueError, match=why):
        upgraded_compile_config(config)
