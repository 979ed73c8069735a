"""Elements of weights that training must not change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from surgery.errors import SurgeryError
from surgery.live.requests import Hold
from surgery.weights.channels import Channels


def hold(variables: Mapping[str, Any], wanted: Hold) -> list[Any]:
    """Constrain the held elements to their current values after each step of any optimizer.

    Returns the masks, as variables, True where held. Raises SurgeryError if a mask has another
    shape.
    """
    import tensorflow as tf

    given = None if wanted.mask is None else np.load(wanted.mask, allow_pickle=False)
    is_off = _switched_off(variables, wanted)
    masks = []
    for address in wanted.addresses:
        variable = variables[address]
        values = variable.numpy()
        zeros = values == 0
        if is_off is not None:
            zeros = _in_channels(zeros, wanted.channels[address], is_off)
        mask = zeros if given is None else given.astype(bool)
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


def _switched_off(variables: Mapping[str, Any], wanted: Hold) -> Any:
    """Return a boolean array, True for channels whose kernels are all zero, or None.

    None if there are no kernels.
    """
    if not wanted.kernels:
        return None
    return np.logical_and.reduce(
        [
            _by_channel(variables[kernel].numpy() == 0, wanted.channels[kernel]).all(axis=(0, 2))
            for kernel in wanted.kernels
        ]
    )


def _in_channels(zeros: Any, channels: Channels, is_off: Any) -> Any:
    """Return which of the zeros are in a channel that is switched off."""
    return (_by_channel(zeros, channels) & is_off[:, np.newaxis]).reshape(zeros.shape)


def _by_channel(values: Any, channels: Channels) -> Any:
    return values.reshape(-1, channels.count, channels.inner)


def constrain(variable: Any, function: Any) -> None:
    """Append a function to the constraint that an optimizer applies to a variable."""
    import tensorflow as tf

    before = variable.constraint

    def apply(value: Any) -> Any:
        value = value if before is None else before(value)
        return function(tf.convert_to_tensor(value))

    variable.constraint = apply
