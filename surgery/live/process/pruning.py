"""Pruning during training: an increasing share of the smallest elements is set and kept at zero."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import keras
import numpy as np

from surgery.errors import SurgeryError
from surgery.live.process.holding import constrain
from surgery.live.requests import Schedule


class Pruner(keras.callbacks.Callback):  # type: ignore[misc]
    """A callback that prunes by a schedule; its masks and its step are saved for resuming."""

    def __init__(self, schedule: Schedule, variables: Mapping[str, Any]) -> None:
        import tensorflow as tf

        super().__init__()
        self.schedule = schedule
        self.step = 0
        self.pruned = []
        for address in schedule.addresses:
            variable = variables[address]
            kept = tf.Variable(np.ones(variable.shape, bool), trainable=False)
            constrain(variable, lambda new, kept=kept: tf.where(kept, new, tf.zeros_like(new)))
            self.pruned.append((variable, kept))

    @property
    def masks(self) -> list[Any]:
        """The boolean variables that are True for the elements that are left."""
        return [kept for _, kept in self.pruned]

    def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
        """Prune if the schedule has a new sparsity at this step."""
        sparsity = self.schedule.sparsity(self.step)
        if sparsity is not None:
            self._prune(sparsity)
        self.step += 1

    def finish(self) -> None:
        """Prune to the final sparsity, or raise SurgeryError, if the schedule has not ended."""
        if self.step > self.schedule.until:
            return
        if self.schedule.at_end == "fail":
            raise SurgeryError(
                f"prune_schedule ends at step {self.schedule.until}, and the training ended after "
                f"{self.step} steps; train for longer, end it earlier, or say at_end: prune"
            )
        self._prune(self.schedule.end)

    def _prune(self, sparsity: Fraction) -> None:
        for variable, kept in self.pruned:
            values = variable.numpy()
            mask = largest(values, sparsity)
            kept.assign(mask)
            variable.assign(np.where(mask, values, np.zeros_like(values)))


def largest(values: np.ndarray[Any, Any], sparsity: Fraction) -> np.ndarray[Any, Any]:
    """Return a mask that is False for the floor(sparsity * n) elements of least magnitude.

    Of equal magnitudes, lower indices are pruned first; elements that are already zero count.
    """
    count = math.floor(sparsity * values.size)
    magnitudes = np.abs(values.astype(np.float64)).reshape(-1)
    mask = np.ones(values.size, bool)
    mask[np.argsort(magnitudes, kind="stable")[:count]] = False
    return mask.reshape(values.shape)
