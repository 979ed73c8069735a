"""Decoding by TensorFlow: images, and records of `tf.train.Example`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from surgery.errors import FormatError
from surgery.weights.tensor import Array


def decode_image(
    data: bytes, name: str, channels: int = 0, size: tuple[int, ...] | None = None
) -> Array:
    """Decode an image (JPEG, PNG, GIF, BMP) to an array of shape (height, width, channels).

    With `size` (height, width), it is resized bilinearly to float32, else it is uint8; `channels=0`
    keeps the image's own. Raises FormatError, with `name`, if it is not an image.
    """
    import tensorflow as tf

    try:
        image = tf.io.decode_image(data, channels=channels, expand_animations=False)
    except tf.errors.InvalidArgumentError:
        raise FormatError(f"{name} is not an image that TensorFlow reads") from None
    decoded: Array = (image if size is None else tf.image.resize(image, size)).numpy()
    return decoded


def parse_examples(
    records: Sequence[bytes], features: Mapping[str, tuple[tuple[int, ...], str]], name: str
) -> Mapping[str, Array]:
    """Parse serialized `tf.train.Example` messages to one array a feature, a row a record.

    `features` maps names to (shape, dtype). Raises FormatError, with `name`, if a record lacks one.
    """
    import tensorflow as tf

    wanted = {each: tf.io.FixedLenFeature(*facts) for each, facts in features.items()}
    try:
        parsed = tf.io.parse_example(list(records), wanted)
    except tf.errors.InvalidArgumentError as error:
        raise FormatError(f"{name}: {str(error).partition(chr(10))[0]}") from None
    return {each: np.asarray(value.numpy()) for each, value in parsed.items()}
