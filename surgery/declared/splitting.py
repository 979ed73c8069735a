"""The split of examples into a training and a validation part."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from surgery.declared.data import Examples, Rows
from surgery.errors import FormatError
from surgery.weights.random import generator
from surgery.weights.tensor import Array

_MOST_CLASSES = 1000
_NAMED = 3


def parts(examples: Examples, share: Fraction, seed: int, name: str) -> tuple[Rows, Rows]:
    """Return (training rows, validation rows); raises FormatError if there are too few.

    The last rows are for validation, as Keras splits arrays; if there is a folder for each class,
    a random share of every class.
    """
    rows = np.arange(examples.count)
    if examples.by_class and examples.labels is not None:
        chosen = np.isin(rows, _drawn(examples.labels(), share, seed, name))
        return rows[~chosen], rows[chosen]
    border = int(examples.count * (1 - share))
    if not 0 < border < examples.count:
        raise FormatError(f"{name} has {examples.count} examples, too few to be split")
    return rows[:border], rows[border:]


def trained_on(
    examples: Examples | None, share: Fraction | None, seed: int, name: str
) -> tuple[int | None, str | None]:
    """Return (number of training examples, note on the split); each may be None.

    The number is None for data made by code. Raises FormatError if data cannot be split.
    """
    if examples is None:
        if share is not None:
            raise FormatError(f"{name} cannot be split; give validation another source")
        return None, None
    if share is None:
        return examples.count, None
    rows, _ = parts(examples, share, seed, name)
    return len(rows), split_note(examples, share, name)


def _drawn(labels: Array, share: Fraction, seed: int, name: str) -> Rows:
    """Draw validation rows from every class: at least one, and never all.

    Raises FormatError, with `name`, for a class with a single example.
    """
    chosen = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) < 2:
            raise FormatError(f"{name} has one example of class {label}, too few to be split")
        count = min(max(1, int(len(rows) * share)), len(rows) - 1)
        chosen.append(generator(seed, "split", int(label)).permutation(rows)[:count])
    return np.concatenate(chosen)


def split_note(examples: Examples, share: Fraction, name: str) -> str | None:
    """Return a warning if Keras's split separates classes, as in sorted data; else None."""
    if examples.by_class or examples.labels is None:
        return None
    rows, others = parts(examples, share, 0, name)
    classes = _classes(examples.labels())
    if classes is None:
        return None
    trained, measured = set(classes[rows].tolist()), set(classes[others].tolist())
    lacking = (
        f"class {_listed(missing)} {where}"
        for missing, where in (
            (measured - trained, "only in the validation part"),
            (trained - measured, "only in the training part"),
        )
        if missing
    )
    if not (missing_classes := " and ".join(lacking)):
        return None
    return (
        f"validation_split takes the last {len(others)} examples of {name}, as Keras does, and has "
        f"{missing_classes}; shuffle the examples, or give validation"
    )


def _listed(classes: set[object]) -> str:
    names = sorted(f"{each:g}" if isinstance(each, float) else str(each) for each in classes)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _classes(labels: Array) -> Array | None:
    """Return the class of every example; None if the labels are quantities, not classes."""
    if labels.ndim == 2 and labels.shape[1] > 1:
        is_one_hot = ((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all()
        return labels.argmax(axis=1) if is_one_hot else None
    if labels.size != len(labels):
        return None
    flat = np.asarray(labels).reshape(-1)
    if flat.dtype.kind == "f" and not (flat == np.rint(flat)).all():
        return None
    count = len(np.unique(flat))
    return flat if count <= min(_MOST_CLASSES, len(flat) // 2) else None
