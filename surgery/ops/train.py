"""`train`: Keras's fit, on the model as changed by the earlier steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from surgery.declared.callbacks import Callbacks
from surgery.declared.compiling import KEEP, KerasMetric, LearningRate, Loss, Optimizer
from surgery.declared.data import Data, steps
from surgery.declared.fields import Share, key
from surgery.declared.splitting import trained_on
from surgery.errors import SurgeryError
from surgery.live.requests import Hold, Training
from surgery.ops._channels import switched_off
from surgery.ops._compiled import OwnCompile, outputs, own_compile, with_new_optimizer
from surgery.ops._held import Keep, PruneSchedule, masked, scheduled, zeros
from surgery.ops._trained import taken, tied
from surgery.ops.base import op
from surgery.ops.live import Done, LiveOp, Runner, check_data, need_live
from surgery.weights.model import Model
from surgery.weights.weight import Weight

_DEFAULT = Optimizer("rmsprop")
_ONE_OUTPUT = (
    "class_weight works for one output, and there are more; use the data's sample_weight instead"
)


@op
@dataclass(frozen=True, kw_only=True)
class Train(LiveOp):
    """Train the model on data, with Keras's own fit."""

    copies: ClassVar[int] = 6
    finds_metrics = True

    data: Data = key(
        "The training data: a .npz, .npy files, a .csv, a folder of images, TFRecords or a "
        "generator.",
        {"npz": "digits.npz", "x": "x_train", "y": "y_train"},
    )
    epochs: int = key(
        "The number of passes over the data.", 10, default=1, minimum=1, in_example=True
    )
    batch_size: int = key("Examples for each step of the optimizer.", 64, default=32, minimum=1)
    optimizer: Optimizer | None = key(
        "A new Keras optimizer, and its arguments; or keep, the default: the model's own with its "
        "state. A model that is not compiled gets rmsprop.",
        {"adam": {"learning_rate": 0.001}},
        default=None,
        in_example=True,
    )
    learning_rate: LearningRate | None = key(
        "A new learning rate, or a schedule, for the model's own optimizer.",
        0.0001,
        default=None,
    )
    loss: Loss | None = key(
        "A Keras loss, or one for each output; by default the model's own.",
        "sparse_categorical_crossentropy",
        default=None,
        in_example=True,
    )
    metrics: tuple[KerasMetric, ...] | None = key(
        "Keras metrics; by default the model's own, if optimizer or loss is its own.",
        ["accuracy"],
        default=None,
        in_example=True,
    )
    validation: Data | None = key(
        "The data to measure on after each epoch.",
        {"npz": "digits.npz", "x": "x_test", "y": "y_test"},
        default=None,
    )
    validation_split: Share | None = key(
        "Or a part of the data, left out of training: the last examples or, for folders "
        "of images, some of every class, drawn by the recipe's seed.",
        "10%",
        default=None,
    )
    class_weight: Mapping[str, Any] | None = key(
        "The weight of the examples of a class, by its number; 1 by default.",
        {"0": 1.0, "1": 5.0},
        default=None,
    )
    shuffle: bool = key("Reorder the examples randomly for every epoch.", True, default=True)
    callbacks: Callbacks | None = key(
        "Callbacks of Keras.", {"early_stopping": {"patience": 5}}, default=None
    )
    mixed_precision: Literal["mixed_float16", "mixed_bfloat16"] | None = key(
        "Compute in half precision; the weights keep their dtype.", "mixed_bfloat16", default=None
    )
    keep_zeros: bool = key(
        "Elements of kernels that are zero when training starts stay exactly zero; if "
        "a whole output channel is zero, so do its bias, and gamma and beta of the "
        "BatchNormalization behind it, if they are zero.",
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
                raise ValueError(
                    f"class_weight: {number}: {weight} is not a class number and its weight"
                )
        if self.class_weight and self.loss is not None and self.loss.outputs > 1:
            raise ValueError(_ONE_OUTPUT)
        if self.learning_rate is not None and self._new_optimizer is not None:
            raise ValueError(
                "learning_rate is for the model's own optimizer; for a new one, write "
                "optimizer: {adam: {learning_rate: 0.001}}"
            )
        if self._new_optimizer is not None:
            self._check_optimizer(self._new_optimizer.config)

    @property
    def _new_optimizer(self) -> Optimizer | None:
        """The optimizer that replaces the model's own; None to keep that."""
        given = self.optimizer
        return None if given is None or given.value == KEEP else given

    def _check_optimizer(self, config: Mapping[str, Any]) -> None:
        """Raise ValueError if an optimizer's config does not go with the other keys."""
        holds = self.keep_zeros or self.keep or self.prune_schedule
        if holds and config.get("ema_overwrite_frequency"):
            raise ValueError(
                "ema_overwrite_frequency replaces the weights by averages every few "
                "steps, which changes zeros and masked elements; leave it out"
            )
        lowers = self.callbacks is not None and self.callbacks.reduce_lr_on_plateau is not None
        rate = self.learning_rate.value if self.learning_rate else config.get("learning_rate")
        if lowers and isinstance(rate, Mapping):
            raise ValueError(
                "reduce_lr_on_plateau cannot lower a learning rate that follows a schedule; omit "
                "one of them"
            )

    @property
    def title(self) -> str:
        return f"train on {self.data}"

    def matched(self, model: Model) -> tuple[Weight, ...]:
        return tuple(weight for weight in model.weights if not model.is_frozen(weight))

    def changes(self, weights: Sequence[Weight]) -> int | None:
        return None

    def inputs(self) -> tuple[Path, ...]:
        masks = tuple(each.mask for each in self.keep)
        other = self.validation.inputs() if self.validation else ()
        return (*self.data.inputs(), *other, *masks)

    def writes(self) -> Sequence[Path]:
        return self.callbacks.paths() if self.callbacks else ()

    def apply(self, model: Model) -> Model:
        need_live(model, self.name)
        examples = check_data(self.data, model)
        if self.validation is not None:
            check_data(self.validation, model)
        if not self.matched(model):
            raise SurgeryError("every layer is frozen; there is nothing to train")
        if self.class_weight and outputs(model) > 1:
            raise SurgeryError(_ONE_OUTPUT)
        self._holds(model)
        if self.prune_schedule is not None:
            scheduled(self.prune_schedule, self.keep, model)
        share = self.validation_split.fraction if self.validation_split else None
        count, note = trained_on(examples, share, self.draws.seed, str(self.data))
        self._check_steps(count)
        compiled = self._compiled(model)
        return compiled.with_note(f"train: {note}") if note else compiled

    def _compiled(self, model: Model) -> Model:
        """Return the model as compiled after training, as far as it can be predicted.

        Raises SurgeryError if it cannot be compiled.
        """
        own = own_compile(model)
        if own is None and self.loss is None:
            raise SurgeryError("the model is not compiled; give loss, and optimizer")
        if own is not None and not own.name and self._goes_on(own):
            raise SurgeryError(
                f"the model's compile config has no equivalent in Keras 3 ({own.problem}); give "
                "optimizer and loss"
            )
        if own is None and self.optimizer is not None and self._new_optimizer is None:
            raise SurgeryError("the model has no optimizer to keep; give a new one")
        if own is None and self.learning_rate is not None:
            raise SurgeryError("the model has no optimizer yet; give optimizer: {adam: ...}")
        if own is not None and self._new_optimizer is None:
            self._check_kept(own)
            return model
        return with_new_optimizer(model, (self._new_optimizer or _DEFAULT).text, own)

    def _goes_on(self, own: OwnCompile | None) -> bool:
        """Return whether the model's own optimizer or its own loss is kept."""
        return own is not None and (self._new_optimizer is None or self.loss is None)

    def _check_kept(self, own: OwnCompile) -> None:
        """Raise SurgeryError if the model's own optimizer cannot be used further."""
        own.need_state()
        try:
            self._check_optimizer(own.config)
        except ValueError as error:
            raise SurgeryError(str(error)) from None
        follows = isinstance(own.config.get("learning_rate"), Mapping)
        if self.learning_rate and follows and isinstance(self.learning_rate.value, float):
            raise SurgeryError(
                f"the learning rate of the model's own {own.name} follows a schedule, which "
                "Keras cannot replace by a number; give another schedule, or optimizer"
            )

    def _check_steps(self, examples: int | None) -> None:
        """Raise SurgeryError if the pruning schedule is longer than the training."""
        wanted = self.prune_schedule
        if examples is None or wanted is None:
            return
        total = self.epochs * steps(examples, self.batch_size)
        if wanted.at_end == "fail" and wanted.end >= total:
            raise SurgeryError(
                f"prune_schedule ends at step {wanted.end}, and the training has {total} steps "
                f"({self.epochs} epochs); train for longer, end it earlier, or say at_end: prune"
            )

    def _holds(self, model: Model) -> list[Hold]:
        kept = [zeros(self.matched(model)), *switched_off(model)] if self.keep_zeros else []
        return [*kept, *(masked(keep, model) for keep in self.keep)]

    def run(self, model: Model, runner: Runner) -> Done:
        own = own_compile(model)
        made = runner.call(
            "train",
            model,
            to=runner.room("trained"),
            resume_folder=runner.resume_folder(),
            seed=self.draws.seed,
            seed_=self.draws.seed,
            plan=self._training(model, own),
        )
        trained = tied(runner.open(made["path"], model), model, made["compile_config"])
        facts = {name: made[name] for name in ("epochs", "resumed_from", "metrics", "history")}
        return Done(taken(model, trained), facts)

    def _training(self, model: Model, own: OwnCompile | None) -> Training:
        """Return the arguments of the training job."""
        pruned = self.prune_schedule
        weights = self.class_weight or {}
        return Training(
            data=self.data,
            epochs=self.epochs,
            batch_size=self.batch_size,
            shuffle=self.shuffle,
            compile=self._given(own),
            goes_on=self._goes_on(own),
            learning_rate=self.learning_rate.value if self.learning_rate else None,
            validation=self.validation,
            validation_split=self.validation_split.fraction if self.validation_split else None,
            class_weight={int(k): float(v) for k, v in weights.items()} or None,
            callbacks=self.callbacks.calls() if self.callbacks else (),
            mixed_precision=self.mixed_precision,
            holds=self._holds(model),
            schedule=scheduled(pruned, self.keep, model) if pruned else None,
        )

    def _given(self, own: OwnCompile | None) -> dict[str, Any]:
        """Return the arguments of `compile`; missing ones are the model's own."""
        optimizer = self._new_optimizer or (_DEFAULT if own is None else None)
        metrics = self.metrics if self._goes_on(own) else self.metrics or ()
        given = {
            "optimizer": optimizer and optimizer.value,
            "loss": self.loss and self.loss.value,
            "metrics": None if metrics is None else [metric.value for metric in metrics],
        }
        return {name: value for name, value in given.items() if value is not None}
