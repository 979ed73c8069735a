"""Parts of weights that training must not change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from surgery.errors import SurgeryError
from surgery.live.requests import Hold
from surgery.weights.channels import Channels


def hold(variables: Mapping[str, Any], wanted: Hold) -> list[Any]:
    """Hold elements from now on, in every optimizer: it constrains them after each step.

    Returns the masks, as variables.
    """
    import tensorflow as tf

    given = None if wanted.mask is None else np.load(wanted.mask, allow_pickle=False)
    masks = []
    for address in wanted.addresses:
        variable = variables[address]
        values = variable.numpy()
        mask = _zeros(variables, wanted, address) if given is None else given.astype(bool)
        if mask.shape != values.shape:
            raise SurgeryError(
                f"{wanted.mask} has the shape {list(mask.shape)}, but {address} has "
                f"{list(values.shape)}"
            )
        held = tf.Variable(mask, trainable=False)
        kept = tf.constant(np.where(mask, values, 0).astype(values.dtype))
        constrain(variable, lambda new, held=held, kept=kept: tf.where(held, kept, new))
        masks.append(held)
    return masks


def _zeros(variables: Mapping[str, Any], wanted: Hold, address: str) -> Any:
    """Where a variable is zero, and belongs to a channel that is switched off."""
    zeros = variables[address].numpy() == 0
    if not wanted.kernels:
        return zeros
    is_off = np.logical_and.reduce(
        [
            _by_channel(variables[kernel].numpy() == 0, wanted.channels[kernel]).all(axis=(0, 2))
            for kernel in wanted.kernels
        ]
    )
    of_channels = _by_channel(zeros, wanted.channels[address]) & is_off[:, np.newaxis]
    return of_channels.reshape(zeros.shape)


def _by_channel(values: Any, channels: Channels) -> Any:
    return values.reshape(-1, channels.count, channels.inner)


def constrain(variable: Any, function: Any) -> None:
    """Add a function to what a variable goes through after every step of the optimizer."""
    import tensorflow as tf

    before = variable.constraint

    def apply(value: Any) -> Any:
        value = value if before is None else before(value)
        return function(tf.convert_to_tensor(value))

    variable.constraint = apply
