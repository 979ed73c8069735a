"""The compile config of Keras 1 and 2, converted to Keras 3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from surgery.architecture.upgrades._notes import Config
from surgery.architecture.upgrades.objects import keras_object

_OPTIMIZERS: Mapping[str, frozenset[str]] = {
    name: frozenset(f"{arguments} learning_rate name weight_decay clipnorm clipvalue "
                    "global_clipnorm use_ema ema_momentum ema_overwrite_frequency".split())
    for name, arguments in {
        "SGD": "momentum nesterov",
        "RMSprop": "rho momentum epsilon centered",
        "Adam": "beta_1 beta_2 epsilon amsgrad",
        "AdamW": "beta_1 beta_2 epsilon amsgrad",
        "Adadelta": "rho epsilon",
        "Adagrad": "initial_accumulator_value epsilon",
        "Adamax": "beta_1 beta_2 epsilon",
        "Nadam": "beta_1 beta_2 epsilon",
        "Ftrl": "learning_rate_power initial_accumulator_value l1_regularization_strength "
                "l2_regularization_strength l2_shrinkage_regularization_strength beta",
        "Lion": "beta_1 beta_2",
    }.items()
}  # fmt: skip
"""Keras 3's arguments of the optimizers that Keras 2 has too."""

_SAYS_NOTHING = ("jit_compile", "is_legacy_optimizer")
_SCHEDULES = (
    "CosineDecay", "CosineDecayRestarts", "ExponentialDecay", "InverseTimeDecay",
    "PiecewiseConstantDecay", "PolynomialDecay",
)  # fmt: skip
_SHORT = {"mse", "mae", "mape", "msle", "kld", "bce", "acc", "accuracy", "ce", "crossentropy"}
_FUNCTIONS = _SHORT | {
    "binary_accuracy", "binary_crossentropy", "binary_focal_crossentropy", "categorical_accuracy",
    "categorical_crossentropy", "categorical_focal_crossentropy", "categorical_hinge",
    "cosine_similarity", "hinge", "huber", "kl_divergence", "log_cosh", "mean_absolute_error",
    "mean_absolute_percentage_error", "mean_squared_error", "mean_squared_logarithmic_error",
    "poisson", "sparse_categorical_accuracy", "sparse_categorical_crossentropy",
    "sparse_top_k_categorical_accuracy", "squared_hinge", "top_k_categorical_accuracy",
}  # fmt: skip
"""Losses and metrics with the same name in Keras 2 and 3."""

_RENAMED = {"kullback_leibler_divergence": "kl_divergence", "logcosh": "log_cosh",
            "cosine_proximity": "", "huber_loss": "huber"}  # fmt: skip
_LOSS_ARGUMENTS = {
    "reduction", "name", "from_logits", "label_smoothing", "axis", "delta", "alpha", "gamma",
    "apply_class_balancing", "ignore_class",
}  # fmt: skip
_ARGUMENTS = ("loss", "loss_weights", "metrics", "weighted_metrics", "run_eagerly",
              "steps_per_execution")  # fmt: skip


def upgraded_compile_config(config: Mapping[str, Any]) -> Config:
    """Return the arguments of `compile` for Keras 3; raises ValueError if one has no equivalent.

    `config` is the `compile_config` of a `.keras` file, or the `training_config` of an `.h5` file.
    """
    optimizer = config.get("optimizer", config.get("optimizer_config"))
    new: Config = {"optimizer": _optimizer(optimizer)}
    for name in _ARGUMENTS:
        if (value := config.get(name)) is not None:
            new[name] = _ARGUMENT[name](value) if name in _ARGUMENT else value
    return new


def _optimizer(value: Any) -> Any:
    if isinstance(value, str) and value.lower() in {name.lower() for name in _OPTIMIZERS}:
        return value.lower()
    if not isinstance(value, Mapping) or not isinstance(value.get("config"), Mapping):
        raise ValueError("its optimizer is not recognised")
    class_name = str(value.get("class_name")).removeprefix("Custom>")
    if class_name == "LossScaleOptimizer":
        return _loss_scale(value["config"])
    if class_name not in _OPTIMIZERS:
        raise ValueError(f"Keras 3 has no optimizer {class_name}")
    config = {k: v for k, v in value["config"].items() if k not in _SAYS_NOTHING and v is not None}
    if not config.get("adaptive_epsilon"):
        config.pop("adaptive_epsilon", None)
    config = _learning_rate(config)
    if odd := sorted(set(config) - _OPTIMIZERS[class_name]):
        raise ValueError(f"Keras 3's {class_name} has no {odd[0]}")
    return keras_object("keras.optimizers", class_name, config)


def _learning_rate(config: Config) -> Config:
    """Return the config with the learning rate schedule equivalent to the old `decay`.

    Raises ValueError for a schedule without an equivalent.
    """
    new = {key: value for key, value in config.items() if key not in ("lr", "decay")}
    rate = config.get("learning_rate", config.get("lr"))
    decay = config.get("decay") or 0
    if isinstance(rate, Mapping):
        name = str(rate.get("class_name"))
        if name not in _SCHEDULES or decay:
            raise ValueError(f"Keras 3 has no schedule {name}")
        rate = keras_object("keras.optimizers.schedules", name, rate.get("config") or {})
    elif decay:
        steps = {"initial_learning_rate": rate, "decay_steps": 1, "decay_rate": decay}
        rate = keras_object("keras.optimizers.schedules", "InverseTimeDecay", steps)
    return {**new, **({} if rate is None else {"learning_rate": rate})}


def _loss_scale(config: Mapping[str, Any]) -> Config:
    if config.get("dynamic") is False:
        raise ValueError("Keras 3 has no fixed loss scale")
    own = {key: config[key] for key in ("initial_scale", "dynamic_growth_steps") if key in config}
    inner = _optimizer(config.get("inner_optimizer"))
    return keras_object("keras.optimizers", "LossScaleOptimizer", {**own, "inner_optimizer": inner})


def _loss(value: Any) -> Any:
    if isinstance(value, list):
        return [_loss(item) for item in value]
    if isinstance(value, Mapping) and "class_name" not in value:
        return {key: _loss(item) for key, item in value.items()}
    if not isinstance(value, Mapping):
        return _function(value, "loss")
    config = {k: v for k, v in (value.get("config") or {}).items() if k != "fn"}
    if config.get("reduction") in ("auto", None):
        config["reduction"] = "sum_over_batch_size"
    if odd := sorted(set(config) - _LOSS_ARGUMENTS):
        raise ValueError(f"the argument {odd[0]} of its loss is not known")
    return keras_object("keras.losses", str(value["class_name"]), config)


def _metric(value: Any) -> Any:
    if isinstance(value, list):
        items = [_metric(item) for item in value]
        return items[0] if len(items) == 1 and isinstance(items[0], list) else items
    if isinstance(value, Mapping) and "class_name" not in value:
        return {key: _metric(item) for key, item in value.items()}
    if not isinstance(value, Mapping):
        return None if value is None else _function(value, "metric")
    config = {k: v for k, v in (value.get("config") or {}).items() if k != "fn"}
    if value["class_name"] in ("MeanMetricWrapper", "SumOverBatchSizeMetricWrapper"):
        name = str(config.get("name"))
        function = (value.get("config") or {}).get("fn")
        return name if name in _SHORT else _function(function, "metric")
    return keras_object("keras.metrics", str(value["class_name"]), config)


def _function(value: Any, kind: str) -> str:
    name = _RENAMED.get(str(value), str(value))
    if name not in _FUNCTIONS:
        raise ValueError(f"Keras 3 has no {kind} {value}")
    return name


_ARGUMENT = {"loss": _loss, "metrics": _metric, "weighted_metrics": _metric}
