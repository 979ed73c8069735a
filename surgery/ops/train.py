"""`train`: Keras's fit, on the model as the steps before have made it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from surgery.declaration import Share, key
from surgery.errors import SelectorError, SurgeryError
from surgery.keras_bridge.compiling import Callbacks, Loss, Metric, Optimizer
from surgery.keras_bridge.data._base import Data, steps
from surgery.keras_bridge.live.requests import Hold, Schedule, Training
from surgery.ops._base import op
from surgery.ops._live import Bench, Done, LiveOp, check_data, need_live
from surgery.weights.model import Model
from surgery.weights.npyfile import open_npy
from surgery.weights.selectors import Select
from surgery.weights.tensor import Array, Mapped, Tensor
from surgery.weights.weight import Weight

_NOT_KERNELS = ("bias", "gamma", "beta")


@dataclass(frozen=True, kw_only=True)
class Keep:
    """A part of weights that training must not change."""

    select: Select = key("The weights.", "dense/kernel")
    mask: Path = key(
        "A .npy file of the weight's shape; where it is not zero, the value stays.", "mask.npy"
    )


@dataclass(frozen=True, kw_only=True)
class PruneSchedule:
    """How sparse weights become while they are trained, in steps of the optimizer."""

    select: Select = key("The weights to prune.", "**/kernel")
    to: Share = key("The share of zeros at the end.", "80%")
    from_: Share = key("The share of zeros at its begin.", "0%", default=Share.parse(0))
    begin: int = key("The first step at which it prunes.", 0, default=0, minimum=0)
    end: int = key("The step at which the last share is reached.", 400, minimum=1)
    every: int = key("Steps from one pruning to the next.", 20, default=100, minimum=1)
    kind: Literal["polynomial", "constant"] = key(
        "polynomial (cubic: fast at first) or constant (the last share at once).",
        "polynomial",
        default="polynomial",
    )

    def __post_init__(self) -> None:
        if self.end <= self.begin:
            raise ValueError("end is not after begin")
        if self.to.fraction < self.from_.fraction:
            raise ValueError("to is less than from; what is pruned does not come back")


@op
@dataclass(frozen=True, kw_only=True)
class Train(LiveOp):
    """Train the model on data, with Keras's own fit."""

    copies: ClassVar[int] = 6
    finds_metrics = True

    data: Data = key(
        "What to train on: a .npz, .npy files, a .csv, a folder of images, TFRecords or a "
        "generator.",
        {"npz": "digits.npz", "x": "x_train", "y": "y_train"},
    )
    epochs: int = key(
        "How often to go through the data.", 10, default=1, minimum=1, in_example=True
    )
    batch_size: int = key("Examples for one step of the optimizer.", 64, default=32, minimum=1)
    optimizer: Optimizer = key(
        "A Keras optimizer, and its arguments.",
        {"adam": {"learning_rate": 0.001}},
        default=Optimizer("rmsprop"),
        in_example=True,
    )
    loss: Loss = key("A Keras loss, or one for each output.", "sparse_categorical_crossentropy")
    metrics: tuple[Metric, ...] = key("Keras metrics.", ["accuracy"], default=(), in_example=True)
    validation: Data | None = key(
        "What to measure on after each epoch.",
        {"npz": "digits.npz", "x": "x_test", "y": "y_test"},
        default=None,
    )
    validation_split: Share | None = key(
        "Or the last part of the data, which is then not trained on.", "10%", default=None
    )
    class_weight: Mapping[str, Any] | None = key(
        "What examples of a class count, by its number; 1 where it is not given.",
        {"0": 1.0, "1": 5.0},
        default=None,
    )
    shuffle: bool = key("Another order of the examples for every epoch.", True, default=True)
    callbacks: Callbacks | None = key(
        "Callbacks of Keras.", {"early_stopping": {"patience": 5}}, default=None
    )
    mixed_precision: Literal["mixed_float16", "mixed_bfloat16"] | None = key(
        "Compute in half precision; the weights stay what they are.", "mixed_bfloat16", default=None
    )
    keep_zeros: bool = key(
        "What is zero in a kernel when training starts stays exactly zero at every step.",
        True,
        default=False,
    )
    keep: tuple[Keep, ...] = key(
        "Parts of weights that are not trained.",
        [{"select": "dense/kernel", "mask": "mask.npy"}],
        default=(),
    )
    prune_schedule: PruneSchedule | None = key(
        "Prune while training.", {"select": "**/kernel", "to": "80%", "end": 400}, default=None
    )

    def __post_init__(self) -> None:
        if self.validation is not None and self.validation_split is not None:
            raise ValueError("give either validation or validation_split")
        for number, weight in (self.class_weight or {}).items():
            is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
            if not str(number).isdecimal() or not is_number or not 0 <= weight < math.inf:
                raise ValueError(f"class_weight: {number}: {weight} is no class and its weight")
        arguments = self.optimizer.value if isinstance(self.optimizer.value, Mapping) else {}
        holds = self.keep_zeros or self.keep or self.prune_schedule
        if holds and (arguments.get("config") or {}).get("ema_overwrite_frequency"):
            raise ValueError(
                "ema_overwrite_frequency puts averages in the weights' places at every so many "
                "steps, which keep neither zeros nor masks; leave it out"
            )

    @property
    def title(self) -> str:
        return f"train on {self.data}"

    def matched(self, model: Model) -> tuple[Weight, ...]:
        return tuple(weight for weight in model.weights if weight.trainable is not False)

    def changes(self, weights: Sequence[Weight]) -> int | None:
        return None

    def inputs(self) -> tuple[Path, ...]:
        masks = tuple(each.mask for each in self.keep)
        other = self.validation.inputs() if self.validation else ()
        return (*self.data.inputs(), *other, *masks)

    def apply(self, model: Model) -> Model:
        need_live(model, self.name)
        self._check_steps(check_data(self.data, model))
        if self.validation is not None:
            check_data(self.validation, model)
        if not self.matched(model):
            raise SurgeryError("every layer is frozen; there is nothing to train")
        self._holds(model)
        self._schedule(model)
        if model.carried.code is not None and model.carried.code.build is not None:
            return model.without_optimizer()  # Keras keeps no compile config with weights alone
        compiled = {"optimizer": {"class_name": self.optimizer.text, "config": {}}}
        bare = model.without_optimizer()
        return replace(bare, carried=replace(bare.carried, compile_config=compiled))

    def writes(self) -> Sequence[Path]:
        return self.callbacks.paths() if self.callbacks else ()

    def run(self, model: Model, bench: Bench) -> Done:
        plan = Training(
            data=self.data,
            epochs=self.epochs,
            batch_size=self.batch_size,
            shuffle=self.shuffle,
            compile={
                "optimizer": self.optimizer.value,
                "loss": self.loss.value,
                "metrics": [metric.value for metric in self.metrics],
            },
            validation=self.validation,
            validation_split=self.validation_split.fraction if self.validation_split else None,
            class_weight={int(k): float(v) for k, v in self.class_weight.items()}
            if self.class_weight
            else None,
            callbacks=self.callbacks.calls() if self.callbacks else (),
            mixed_precision=self.mixed_precision,
            holds=self._holds(model),
            schedule=self._schedule(model),
        )
        made = bench.call(
            "train",
            model,
            to=bench.room("trained"),
            lasting=bench.lasting(),
            seed=self.draws.seed,
            seed_=self.draws.seed,
            plan=plan,
        )
        trained = bench.open(made["path"], model)
        history = made["history"]
        facts = {
            "epochs": made["epochs"],
            "resumed_from": made["resumed_from"],
            "metrics": {name: values[-1] for name, values in history.items()},
            "history": history,
        }
        return Done(_taken(model, trained), facts)

    def _check_steps(self, examples: int | None) -> None:
        """Raise where a schedule goes on for longer than the training."""
        if examples is None or self.prune_schedule is None:
            return
        if self.validation_split is not None:
            examples = int(examples * (1 - self.validation_split.fraction))
        total = self.epochs * steps(examples, self.batch_size)
        if self.prune_schedule.end >= total:
            raise SurgeryError(
                f"prune_schedule ends at step {self.prune_schedule.end}, and the training has "
                f"{total} steps ({self.epochs} epochs); train for longer, or end it earlier"
            )

    def _holds(self, model: Model) -> list[Hold]:
        holds = []
        if self.keep_zeros:
            kernels = [w.address for w in self.matched(model) if _is_kernel(w)]
            holds.append(Hold(kernels))
        for keep in self.keep:
            weights = keep.select.weights(model)
            if fixed := [w.address for w in weights if w.trainable is False]:
                raise SelectorError(
                    f"{fixed[0]} is not trained by an optimizer; keep is for what is"
                )
            mask = open_npy(keep.mask)
            for weight in weights:
                if weight.tensor.shape != mask.shape:
                    raise SelectorError(
                        f"{keep.mask} has the shape {list(mask.shape)}, but {weight.address} has "
                        f"{list(weight.tensor.shape)}"
                    )
            holds.append(Hold([weight.address for weight in weights], keep.mask))
        return holds

    def _schedule(self, model: Model) -> Schedule | None:
        wanted = self.prune_schedule
        if wanted is None:
            return None
        weights = wanted.select.weights(model)
        frozen = [w.address for w in weights if w.trainable is False]
        if frozen:
            raise SelectorError(f"{frozen[0]} is not trained, so it is not pruned while training")
        kept = {w.address for keep in self.keep for w in keep.select.weights(model)}
        if both := [w.address for w in weights if w.address in kept]:
            raise SelectorError(
                f"{both[0]} is named by keep and by prune_schedule; it is one of them"
            )
        return Schedule(
            [weight.address for weight in weights],
            wanted.from_.fraction,
            wanted.to.fraction,
            wanted.begin,
            wanted.end,
            wanted.every,
            wanted.kind,
        )


def _is_kernel(weight: Weight) -> bool:
    return len(weight.tensor.shape) > 1 and not weight.variable.endswith(_NOT_KERNELS)


def _taken(model: Model, trained: Model) -> Model:
    """The model with what training made of its weights, its optimizer and its seeds."""
    there = trained.by_address
    weights = tuple(
        replace(
            weight,
            tensor=Mapped(weight.tensor, _read_from(there[weight.address].tensor)),
            slots=there[weight.address].slots,
        )
        for weight in model.weights
    )
    new = trained.carried
    carried = replace(
        model.carried,
        compile_config=new.compile_config,
        training_config=None,
        optimizer=new.optimizer,
        layout=new.layout,
        state={**model.carried.state, **new.state},
    )
    return replace(model, weights=weights, carried=carried)


def _read_from(tensor: Tensor) -> Any:
    def read(before: Array, start: int) -> Array:
        return tensor.read(start, start + before.size)

    return read
