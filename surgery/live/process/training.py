"""The training job: Keras's own fit, with held weights, a pruning schedule, and resuming."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from surgery.errors import SurgeryError
from surgery.live.process import feeding, models
from surgery.live.process.callbacks import Resume, Ticker
from surgery.live.process.holding import hold
from surgery.live.process.pruning import Pruner
from surgery.live.requests import LiveFile, Training

Tell = Callable[..., None]


def train(
    tell: Tell, file: LiveFile, to: Path, resume_folder: Path, seed_: int, plan: Training
) -> dict[str, Any]:
    """Fit a model and save it; a killed training of the same plan is resumed."""
    keeps = plan.goes_on and "optimizer" not in plan.compile
    model = models.load(file, compiled=plan.goes_on, goes_on=keeps)
    kept_policies = _mixed(model, plan.mixed_precision)
    _compile(model, plan)
    variables = dict(models.by_address(model, file))
    if not model.optimizer.built:  # for all weights that Keras will train after loading the file
        model.optimizer.build(model.trainable_variables)
    models.set_trainable(model, {id(variables[address]): False for address in file.frozen})
    masks = [hold(variables, each) for each in plan.holds]
    pruner = Pruner(plan.schedule, variables) if plan.schedule else None
    addresses = [address for each in plan.holds for address in each.addresses]
    addresses += plan.schedule.addresses if plan.schedule else []
    held = [variables[address] for address in dict.fromkeys(addresses)]
    clock = feeding.Clock()
    fed, validation = _feeds(plan, feeding.Shuffle(seed_, clock, plan.shuffle))
    own = [_callback(name, arguments) for name, arguments in plan.callbacks]
    loggers = [each for each in own if isinstance(each, keras.callbacks.CSVLogger)]
    others = [each for each in own if each not in loggers]
    ticker = Ticker(clock, seed_, plan.epochs, tell)
    extra = [pruner] if pruner else []
    resume = Resume(resume_folder, [*others, *extra], masks)
    first = clock.epoch = resume.epoch
    for logger in loggers:
        logger.append = first > 0
    model.fit(
        fed.dataset,
        epochs=plan.epochs,
        initial_epoch=plan.epochs if resume.stopped else first,
        validation_data=None if validation is None else validation.dataset,
        class_weight=_class_weight(model, plan.class_weight),
        callbacks=[ticker, *extra, *own, resume],
        shuffle=False,
        verbose=0,
    )
    if pruner is not None:
        pruner.finish()
    for (
        variable
    ) in held:  # an average or the best epoch may have replaced the weights since the last step
        variable.assign(variable.constraint(variable))
    metrics = _metrics(resume.history, _best_epoch(own))
    if validation is not None and (held or _averages(model.optimizer)):
        metrics |= _measured(model, validation)
    for layer, policy in kept_policies:
        layer.dtype_policy = policy
    return {
        "path": models.save(model, file, to),
        "compile_config": models.compile_config(model),
        "history": resume.history,
        "metrics": metrics,
        "epochs": len(next(iter(resume.history.values()), ())),
        "resumed_from": first,
    }


def _feeds(plan: Training, shuffle: feeding.Shuffle) -> tuple[feeding.Feed, feeding.Feed | None]:
    """Return (training batches, validation batches or None)."""
    if plan.validation_split is not None:
        return feeding.split(plan.data, plan.batch_size, shuffle, plan.validation_split)
    fed = feeding.feed(plan.data, plan.batch_size, shuffle)
    if plan.validation is None:
        return fed, None
    return fed, feeding.feed(plan.validation, plan.batch_size)


def _best_epoch(callbacks: Sequence[Any]) -> int:
    """Return the epoch whose weights were restored by EarlyStopping; -1 for the last one."""
    for each in callbacks:
        if isinstance(each, keras.callbacks.EarlyStopping) and each.best_weights is not None:
            return int(each.best_epoch)
    return -1


def _metrics(history: Mapping[str, Sequence[float]], epoch: int) -> dict[str, float]:
    """Return the metrics of an epoch; the learning rate is always the last one."""
    return {
        name: values[-1 if name == "learning_rate" else epoch] for name, values in history.items()
    }


def _measured(model: Any, validation: feeding.Feed) -> dict[str, float]:
    """Evaluate the model as it is now, with `val_` before the metrics' names, as fit has them."""
    found = model.evaluate(validation.dataset, verbose=0, return_dict=True)
    return {f"val_{name}": float(value) for name, value in found.items()}


def _averages(optimizer: Any) -> bool:
    """Return whether the optimizer replaces the weights by averages when training ends."""
    return bool(getattr(optimizer, "inner_optimizer", optimizer).use_ema)


def _compile(model: Any, plan: Training) -> None:
    """Compile a model; arguments that the plan lacks are the model's own.

    Raises SurgeryError if training should continue and Keras cannot restore the compile config.
    """
    scales_loss = plan.mixed_precision == "mixed_float16"
    given = dict(plan.compile)
    if plan.goes_on:
        if not model.compiled:
            raise SurgeryError("Keras cannot compile it as it was; give optimizer, and loss")
        given = {**model._compile_config.config, "optimizer": model.optimizer, **given}
    if plan.compile or scales_loss:
        compile_model(model, given, scales_loss)
    if plan.learning_rate is not None:
        model.optimizer.learning_rate = _rate(plan.learning_rate)
    if plan.schedule is not None:  # the schedule counts single steps
        model.steps_per_execution = 1


def _rate(value: float | Mapping[str, Any]) -> Any:
    return keras.saving.deserialize_keras_object(value) if isinstance(value, Mapping) else value


def _class_weight(model: Any, given: Mapping[int, float] | None) -> dict[int, float] | None:
    """Return the weight of every class; Keras wants all of them, so the others get 1."""
    if given is None:
        return None
    outputs = _outputs(model)
    units = int(outputs[0].shape[-1] or 1) if outputs else 1
    count = max(units, 2, 1 + max(given))
    return {number: given.get(number, 1.0) for number in range(count)}


def compile_model(model: Any, arguments: Mapping[str, Any], scales_loss: bool = False) -> None:
    """Compile a model with names and configs in the form of recipes.

    `scales_loss` wraps the optimizer in a LossScaleOptimizer, as Keras does for mixed_float16.
    """
    made = dict(arguments)
    if (optimizer := made.get("optimizer")) is not None:
        found = keras.optimizers.get(optimizer)
        scales_loss &= not isinstance(found, keras.optimizers.LossScaleOptimizer)
        made["optimizer"] = keras.optimizers.LossScaleOptimizer(found) if scales_loss else found
    made["loss"] = _each(keras.losses.get, made.get("loss"))
    made["metrics"] = _each(keras.metrics.get, made.get("metrics"))
    model.compile(**made)


def _each(get: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_each(get, item) for item in value]
    if isinstance(value, Mapping) and "class_name" not in value:
        return {name: _each(get, item) for name, item in value.items()}
    return get(value) if isinstance(value, Mapping) else value


def _callback(name: str, arguments: Mapping[str, Any]) -> Any:
    return getattr(keras.callbacks, name)(**arguments)


def _mixed(model: Any, policy: str | None) -> list[tuple[Any, Any]]:
    """Set a mixed policy on all float32 layers but output layers; returns (layer, old policy)."""
    if policy is None:
        return []
    layers = [layer for layer in model._flatten_layers(include_self=False) if layer.weights]
    outputs = {id(getattr(out, "_keras_history", [None])[0]) for out in _outputs(model)}
    changed = []
    for layer in layers:
        if layer.dtype_policy.name == "float32" and id(layer) not in outputs:
            changed.append((layer, layer.dtype_policy))
            layer.dtype_policy = policy
    return changed


def _outputs(model: Any) -> Sequence[Any]:
    try:
        return list(model.outputs or ())
    except (AttributeError, ValueError):
        return ()
