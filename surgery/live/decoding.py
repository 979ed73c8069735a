"""What TensorFlow decodes of data: images, and records of `tf.train.Example`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from surgery.errors import FormatError
from surgery.weights.tensor import Array


def decode_image(
    data: bytes, name: str, channels: int = 0, size: tuple[int, ...] | None = None
) -> Array:
    """Return an encoded image (JPEG, PNG, GIF, BMP) as an array of height, width and channels.

    With `size` (height and width) it is resized, bilinearly, to float32; 0 channels are those
    that it has. Raises FormatError, with `name`, for what is no image.
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
    """Return the features of serialized `tf.train.Example` messages, a row for each record.

    `features` says the shape and the dtype of each. Raises FormatError, with `name`, where a
    record has no such features.
    """
    import tensorflow as tf

    wanted = {each: tf.io.FixedLenFeature(*facts) for each, facts in features.items()}
    try:
        parsed = tf.io.parse_example(list(records), wanted)
    except tf.errors.InvalidArgumentError as error:
        raise FormatError(f"{name}: {str(error).partition(chr(10))[0]}") from None
    return {each: np.asarray(value.numpy()) for each, value in parsed.items()}
