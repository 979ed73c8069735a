"""Data as `tf.data` batches, reproducible from a seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from surgery.declared.data import Batches, Data, Examples, Rows, steps
from surgery.declared.splitting import parts
from surgery.errors import FormatError
from surgery.weights.random import generator

_AHEAD = 2


@dataclass
class Clock:
    """The current epoch of a training, which determines the order of the examples."""

    epoch: int = 0


@dataclass(frozen=True)
class Feed:
    """Batches for Keras, their number (`steps`, None if unknown), and the examples' files."""

    dataset: Any
    steps: int | None
    files: Sequence[str] = ()


@dataclass(frozen=True)
class Shuffle:
    """A new order of the examples for every epoch, drawn from a seed, if `is_on`."""

    seed: int
    clock: Clock
    is_on: bool = True


def feed(source: Data, batch_size: int, shuffle: Shuffle | None = None) -> Feed:
    """Return all of the data in batches."""
    opened = source.open()
    if isinstance(opened, Batches):
        return _made(opened, shuffle.clock if shuffle else Clock())
    return _of_rows(opened, np.arange(opened.count), batch_size, shuffle)


def split(source: Data, batch_size: int, shuffle: Shuffle, share: Fraction) -> tuple[Feed, Feed]:
    """Return (training batches, validation batches); raises FormatError if data cannot be split."""
    opened = source.open()
    if isinstance(opened, Batches):
        raise FormatError(f"{source} cannot be split; give validation another source")
    rows, others = parts(opened, share, shuffle.seed, str(source))
    train = _of_rows(opened, rows, batch_size, shuffle)
    return train, _of_rows(opened, others, batch_size, None)


def _of_rows(examples: Examples, rows: Rows, batch_size: int, shuffle: Shuffle | None) -> Feed:
    import tensorflow as tf

    def batches() -> Iterator[Rows]:
        order = rows
        if shuffle is not None and shuffle.is_on:
            drawn = generator(shuffle.seed, "shuffle", shuffle.clock.epoch)
            order = drawn.permutation(rows)
        for start in range(0, len(order), batch_size):
            yield order[start : start + batch_size]

    names = examples.used
    dtypes = [tf.as_dtype(examples.columns[name].dtype) for name in names]

    def gather(numbers: Any) -> tuple[Any, ...]:
        found = examples.gather(numbers)
        return tuple(np.ascontiguousarray(found[name], d.as_numpy_dtype)
                     for name, d in zip(names, dtypes, strict=True))  # fmt: skip

    def batch(numbers: Any) -> Any:
        columns = tf.numpy_function(gather, [numbers], dtypes)
        for name, column in zip(names, columns, strict=True):
            column.set_shape((None, *examples.columns[name].shape))
        return examples.packed(dict(zip(names, columns, strict=True)))

    count = steps(len(rows), batch_size)
    signature = tf.TensorSpec([None], tf.int64)
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature).map(batch)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(count))
    return Feed(dataset.prefetch(_AHEAD), count, examples.files)


def _made(batches: Batches, clock: Clock) -> Feed:
    import tensorflow as tf

    first = next(batches.make(clock.epoch), None)
    if first is None:
        raise FormatError("the generator yields no batch")
    first = first if isinstance(first, tuple) else (first,)
    signature = tf.nest.map_structure(
        lambda value: tf.TensorSpec((None, *np.shape(value)[1:]), np.asarray(value).dtype), first
    )

    def make() -> Iterator[Any]:
        for made in batches.make(clock.epoch):
            yield made if isinstance(made, tuple) else (made,)

    dataset = tf.data.Dataset.from_generator(make, output_signature=signature)
    return Feed(dataset.prefetch(_AHEAD), None)
